"""One Wan expert: diffusers' forward() without sources, the plain composition with sources."""

import numpy as np
import torch
from diffusers import WanTransformer3DModel

from golden import Golden, relative_l2
from plain.dit import grid_of, pack, unpack, velocity

COMMON = {"patch_size": [1, 2, 2], "in_channels": 16, "out_channels": 16, "freq_dim": 256, "cross_attn_norm": True,
          "qk_norm": "rms_norm_across_heads", "eps": 1e-6, "image_dim": None, "added_kv_proj_dim": None,
          "rope_max_seq_len": 1024, "pos_embed_seq_len": None}


def config(heads, head_dim, ffn, layers, text_dim):
    return COMMON | {"num_attention_heads": heads, "attention_head_dim": head_dim, "ffn_dim": ffn,
                     "num_layers": layers, "text_dim": text_dim}


def weight_rule(name, shape):
    """(mean, std) that keeps activations of order one and makes every term matter."""
    if "scale_shift_table" in name:
        return 0.0, 0.3
    if "norm_q" in name or "norm_k" in name:
        return 2.0, 0.4  # sharp attention, so that rotary phases and keys show
    if "norm" in name and name.endswith("weight"):
        return 1.0, 0.2
    if name.endswith("bias"):
        return 0.0, 0.1
    return 0.0, float(np.float32(1.0 / np.sqrt(np.prod(shape[1:]))))


def build(golden, settings, prefix=""):
    """A tiny expert whose weights are in the golden's manifest."""
    return golden.weights(WanTransformer3DModel(**settings), weight_rule, prefix)


def make():
    # diffusers' rotary needs head_dim % 6 in {0, 2}: otherwise forward() splits its table off by one.
    make_one("dit_a", config(3, 20, 88, 2, 20), [1, 11, 20], 13, (999, 500, 113), True)
    make_one("dit_b", config(5, 14, 154, 3, 36), [1, 17, 36], 17, (993, 875, 40), True)
    # head_dim 16 follows the rule of spec K.9 (h = w = 4, t = 8), where forward() cannot be asked.
    make_one("dit_c", config(3, 16, 52, 1, 12), [1, 5, 12], 9, (961, 833, 288), False)


def make_one(case, settings, context_shape, rows, timesteps, has_forward):
    golden = Golden(case)
    model = build(golden, settings)
    context = golden.input("context", context_shape)
    padded = torch.nn.functional.pad(context, (0, 0, 0, rows - context_shape[1]))
    latents = {name: golden.input(name, shape) for name, shape in {
        "target": [1, 16, 3, 6, 10], "video": [1, 16, 2, 4, 8], "image_0": [1, 16, 1, 6, 4], "image_1": [1, 16, 1, 8, 6]}.items()}
    assert torch.equal(unpack(pack(latents["target"]), grid_of(latents["target"])), latents["target"])
    runs = [("none", timesteps[0], []), ("none_late", timesteps[2], []),
            ("video", timesteps[1], [("video", 1.0)]),
            ("all", timesteps[0], [("image_0", 2.0), ("image_1", 3.0), ("video", 1.0)]),
            ("fractional", timesteps[2], [("image_0", 1 + 4 * 1 / 6), ("image_1", 1 + 4 * 5 / 6), ("video", 1.0)])]
    golden.fields = {"config": settings, "context_rows": rows, "runs": []}
    for name, timestep, sources in runs:
        segments = [(latents[source], source_id) for source, source_id in sources]
        found = velocity(model, latents["target"], segments, timestep, padded)
        if not sources and has_forward:
            expected = pack(model(latents["target"], torch.tensor([timestep]), padded).sample)
            assert relative_l2(found, expected) < 1e-6, (case, name)
            found = expected
        golden.output(name, found)
        golden.fields["runs"].append({"name": name, "timestep": timestep, "target": "target", "context": "context",
                                      "sources": [{"latents": s, "source_id": i} for s, i in sources]})
    golden.save()
