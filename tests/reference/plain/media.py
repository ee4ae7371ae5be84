"""Size and frame rules for VAE inputs (C.1, C.2), and the Pillow resize."""

import math

import numpy as np
import torch
from PIL import Image

STRIDE = 16


def spatial(width, height, max_size, min_size):
    """(width, height) after C.1. Python's round is half to even."""
    scale = min(max_size / max(width, height), 1.0)
    scale = max(scale, min_size / min(width, height))
    size = scaled((width, height), scale)
    if max(size) > max_size:
        size = scaled(size, max_size / max(size))
    return size


def scaled(size, scale):
    return tuple(max(STRIDE, round(round(side * scale) / STRIDE) * STRIDE) for side in size)


def temporal(frames, fps, target_fps, factor, add_one, cap, renderer_only):
    """Frame indices after C.2; they may pass the end by one and are clamped when read."""
    count = math.floor(frames / fps * target_fps / factor) * factor + add_one
    count = max(count, factor + add_one)
    if renderer_only and fps == target_fps:
        frames = math.floor(frames / factor) * factor + add_one
    indices = torch.linspace(0, frames - 1, count).round().long().tolist()
    return indices[: math.floor(cap / factor) * factor + add_one]


def resize(pixels, size):
    """uint8 [H,W,3] -> uint8 [h,w,3], Pillow's antialiased integer bicubic; size is (w, h)."""
    if pixels.shape[1::-1] == tuple(size):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def to_unit(frames):
    """List of uint8 [H,W,3] -> f32 [1,3,F,H,W] in [-1,1]: x/255, then (x - 0.5)/0.5."""
    video = torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None]
    return (video.float() / 255 - 0.5) / 0.5


def to_u8(frames):
    """f32 [1,3,F,H,W] in [-1,1] -> uint8 [F,H,W,3]: round(255 y), y = x/2 + 0.5 (K.6)."""
    unit = (frames[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 3, 0)
    return torch.round(255 * unit).to(torch.uint8)
