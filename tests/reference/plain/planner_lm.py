"""The planner's language model up to its tap: positions D.4, mask D.5, forward D.6."""

from types import SimpleNamespace

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

TEXT, SOURCE, TARGET = 0, 2, 3
IDS = {"text": 1, "vision_start": 2, "image": 3, "video": 4}


def positions(stream):
    """Position ids [3,1,N] of a stream of ("text", length) and ("image" or "video", patch grid (t,h,w)).

    transformers counts vision_start as text, so each visual entry must follow text; its last token plays that part.
    """
    ids, grids = [], []
    for kind, size in stream:
        if kind == "text":
            ids += [IDS["text"]] * size
            continue
        ids[-1] = IDS["vision_start"]
        ids += [IDS[kind]] * merged(size)
        grids.append((kind, size))
    return rope_index(ids, grids, IDS)


def rope_index(ids, grids, special):
    """Position ids [3,1,N] of token ids [N]. grids: ("image" or "video", patch grid) in stream order;
    special: the ids of vision_start, image and video."""
    vision = SimpleNamespace(spatial_merge_size=2, tokens_per_second=2)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_token_id=special["image"], video_token_id=special["video"],
                                                   vision_start_token_id=special["vision_start"]))
    image, video = ([grid for kind, grid in grids if kind == wanted] for wanted in ("image", "video"))
    image, video, seconds = (torch.tensor(part) if part else None for part in (image, video, [1.0] * len(video)))
    return Qwen2_5_VLModel.get_rope_index(model, torch.tensor([ids]), image, video, seconds)[0]


def merged(grid):
    """Tokens of a patch grid (t,h,w) after the 2x2 merge."""
    return grid[0] * grid[1] * grid[2] // 4


def mask(types):
    """Additive mask [1,1,N,N] for token types [N]: a target sees all targets and what a causal token sees."""
    count = len(types)
    types = torch.tensor(types)
    context = types != TARGET
    sees = torch.tril(torch.ones(count, count, dtype=torch.bool)) & context[None, :]
    sees |= (types == TARGET)[:, None] & (types == TARGET)[None, :]
    return torch.zeros(count, count).masked_fill(~sees, float("-inf"))[None, None]


def hidden(model, embeds, position_ids, types):
    """Residual stream [1,N,d] after the last layer but one, before the final norm (`hidden_states[-2]`)."""
    found = model(inputs_embeds=embeds, position_ids=position_ids, attention_mask={"full_attention": mask(types)},
                  use_cache=False, output_hidden_states=True)
    return found.hidden_states[-2]
