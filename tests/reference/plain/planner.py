"""The planner (D): sources and prompt in, target features and context rows out. Every pass recomputes everything."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from plain import flow_head, media, vision
from plain.maskgit import reveal_order, reveals
from plain.planner_lm import SOURCE, TARGET, TEXT, hidden, merged, rope_index
from plain.text import clean


@dataclass
class Branch:
    """One of cond, imgcond, uncond: token ids and types [N], positions [3,1,N], embeddings [1,N,d] (targets change)."""

    ids: list
    types: list
    positions: torch.Tensor
    embeds: torch.Tensor

    @property
    def target(self):
        """Which tokens are the target, bool [N]."""
        return torch.tensor(self.types) == TARGET


@dataclass
class Planner:
    """The parts of a full checkpoint that plan; `mask_token` [d]."""

    tokenizer: object
    model: torch.nn.Module
    visual: torch.nn.Module
    connector: torch.nn.Module
    head: torch.nn.Module
    mask_token: torch.Tensor

    def run(self, request, latent_tokens):
        """Every intermediate that is worth comparing. `latent_tokens`: tokens of the placeholder's latent (D.10)."""
        sources = self.view_sources(request)
        target = target_view(request, sources)
        branches = self.branches(request, sources, target)
        count = merged(target[1])
        order = reveal_order(count, request.seed)
        generator = skip_packing_draws(request.seed, latent_tokens)
        steps = reveals(order, request.planning_step)
        for revealed in steps:
            if revealed is not None:
                self.reveal(request, branches, revealed, generator)
        rows = {name: self.connector.proj_gen(self.hidden(branches[name]))[0] for name in ("cond", "uncond")}
        cond, uncond = (~branches[name].target for name in ("cond", "uncond"))
        return {"sources": sources, "target_grid": target[1], "branches": branches, "order": order, "reveals": steps,
                "planned": branches["cond"].embeds[0, branches["cond"].target],
                "wtxt_wvit": rows["cond"], "wtxt_wovit": rows["cond"][cond], "wotxt_wovit": rows["uncond"][uncond]}

    def view_sources(self, request):
        """(kind, patch grid, features [n,d]) per source in stream order: videos, then images (C.5, D.1)."""
        views = [("video", *vision.video_patches(view_frames(frames, fps, request))) for frames, fps in request.videos]
        views += [("image", *vision.image_patches(image)) for image in request.images]
        return [(kind, grid, vision.features(self.visual, patches, grid)) for kind, patches, grid in views]

    def branches(self, request, sources, target):
        """The three branches (D.3); the negative prompt is stripped, not cleaned (K.2)."""
        prompt, negative = clean(request.prompt), request.negative_prompt.strip()
        return {"cond": self.branch(request, sources, prompt, target), "imgcond": self.branch(request, [], prompt, target),
                "uncond": self.branch(request, [], negative if len(negative) > 1 else "", target)}

    def branch(self, request, sources, prompt, target):
        """Stream, types, positions and embeddings of one branch (D.1, D.4, D.5)."""
        user = "".join(visual_block(kind, grid) for kind, grid, _ in sources) + prompt
        parts = [("system", request.planner_system, TEXT), ("user", user, SOURCE), ("assistant", visual_block(*target), TARGET)]
        ids, types = [], []
        for role, content, visual_type in parts:
            found = self.message(role, content)
            ids += found
            types += [visual_type if token in (self.token("image"), self.token("video")) else TEXT for token in found]
        special = {name: self.token(name) for name in ("image", "video", "vision_start")}
        grids = [(kind, grid) for kind, grid, *_ in [*sources, target]]
        embeds = self.model.embed_tokens(torch.tensor([ids]))
        for visual_type, rows in ((SOURCE, [features for *_, features in sources]), (TARGET, [self.mask_token[None].expand(merged(target[1]), -1)])):
            if rows:
                embeds[0, torch.tensor(types) == visual_type] = torch.cat(rows)
        return Branch(ids, types, rope_index(ids, grids, special), embeds)

    def message(self, role, content):
        """Ids of one message; none at all if it is empty (D.1)."""
        if not content.strip():
            return []
        return [token for text in (f"<|im_start|>{role}\n", content.strip()) for token in self.tokenizer.encode(text, add_special_tokens=False).ids]

    def token(self, name):
        return self.tokenizer.token_to_id({"image": "<|image_pad|>", "video": "<|video_pad|>", "vision_start": "<|vision_start|>"}[name])

    def hidden(self, branch):
        return hidden(self.model, branch.embeds, branch.positions, branch.types)

    def reveal(self, request, branches, revealed, generator):
        """One MaskGIT step: draws the features of `revealed` target tokens and writes them into all branches (D.7)."""
        conditions = {name: self.connector.pred_vit(self.hidden(branch)[0, branch.target])[revealed] for name, branch in branches.items()}
        noise = torch.randn(len(revealed), self.mask_token.shape[0], generator=generator)
        features = flow_head.sample(self.head, noise, conditions["cond"], conditions["uncond"], conditions["imgcond"],
                                    request.vit_denoising_step, request.vit_txt_cfg, request.vit_img_cfg)
        for branch in branches.values():
            branch.embeds[0, torch.nonzero(branch.target)[revealed, 0]] = features


def visual_block(kind, grid):
    return "<|vision_start|>" + f"<|{kind}_pad|>" * merged(grid) + "<|vision_end|>"


def view_frames(frames, fps, request):
    """Frames that the planner sees: fps // 8 a second, in pairs (C.2)."""
    indices = media.temporal(len(frames), fps, request.fps // 8, 2, 0, request.num_frames, False)
    return frames[np.minimum(indices, len(frames) - 1)]


def target_view(request, sources):
    """(kind, patch grid) of the target: a picture, the first source video's, or a black clip's (C.3)."""
    if request.num_frames > 1 and request.videos:
        return sources[0][:2]
    height, width = (side // 14 for side in smart_resize(request.height, request.width, 28, 3136, 50176))
    if request.num_frames == 1:
        return "image", (1, height, width)
    frames = media.temporal(request.num_frames, request.fps, request.fps // 8, 2, 0, request.num_frames, False)
    return "video", ((len(frames) + 1) // 2, height, width)


def skip_packing_draws(seed, latent_tokens):
    """torch's CPU generator after the three draws of the target's latent patches (D.10)."""
    generator = torch.Generator("cpu").manual_seed(seed)
    for _ in range(3):
        torch.randn(latent_tokens, 16, 1, 2, 2, generator=generator)
    return generator
