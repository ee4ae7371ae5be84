"""One Wan expert with clean source latents as extra tokens: the parts of diffusers' module in the order of spec B."""

import numpy as np
import torch


def pack(latents):
    """[1,C,T,2h,2w] -> [1,T*h*w,4C], inner order (ph,pw,c) (B.3)."""
    _, channels, frames, height, width = latents.shape
    grid = latents.reshape(channels, frames, height // 2, 2, width // 2, 2)
    return grid.permute(1, 2, 4, 3, 5, 0).reshape(1, -1, 4 * channels)


def unpack(tokens, grid):
    """[1,T*h*w,4C] with grid (T,h,w) -> [1,C,T,2h,2w]."""
    frames, height, width = grid
    patches = tokens.reshape(frames, height, width, 2, 2, -1)
    return patches.permute(5, 0, 1, 3, 2, 4).reshape(1, -1, frames, 2 * height, 2 * width)


def grid_of(latents):
    """Token grid (T,h,w) of latents [1,C,T,2h,2w]."""
    return latents.shape[2], latents.shape[3] // 2, latents.shape[4] // 2


def angles(grid, source_id, head_dim):
    """Rotary angles [T*h*w, head_dim/2], f64 (B.8, K.9)."""
    spatial = 2 * (head_dim // 6)
    temporal = head_dim - 2 * spatial
    axes = [np.arange(dim // 2) * 2.0 / dim for dim in (temporal, spatial, spatial)]
    positions = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3).astype(np.float64)
    along = [positions[:, i : i + 1] * 10000.0 ** -exponents for i, exponents in enumerate(axes)]
    phase = 10000.0 ** (-np.arange(head_dim // 2) * 2.0 / head_dim)
    return np.concatenate(along, axis=1) + source_id * phase


def rotary(segments, head_dim):
    """(cos, sin) [1,N,1,head_dim], f32, each angle repeated for its pair, as diffusers' attention expects."""
    table = np.concatenate([angles(grid_of(latents), source_id, head_dim) for latents, source_id in segments])
    table = torch.from_numpy(table).repeat_interleave(2, dim=1)[None, :, None]
    return table.cos().float(), table.sin().float()


def velocity(model, target, sources, timestep, context):
    """Velocity of the target rows, packed [1,N_tgt,4C].

    target [1,16,T,2h,2w]; sources: list of (latents, source id); timestep int; context [1,L,text_dim].
    """
    segments = list(sources) + [(target, 0.0)]
    tokens = torch.cat([model.patch_embedding(latents).flatten(2).transpose(1, 2) for latents, _ in segments], 1)
    time, modulation, text, _ = model.condition_embedder(torch.tensor([timestep]), context, None)
    modulation = modulation.unflatten(1, (6, -1))
    table = rotary(segments, model.config.attention_head_dim)
    for block in model.blocks:
        tokens = block(tokens, text, modulation, table)
    shift, scale = (model.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
    tokens = model.proj_out(model.norm_out(tokens) * (1 + scale) + shift)
    return tokens[:, -int(np.prod(grid_of(target))) :]
