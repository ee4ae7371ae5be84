"""The vision tower, and Qwen's pictures-to-patches rule (C.5, D.6)."""

import numpy as np
import torch
from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

LIMITS = {"min_pixels": 3136, "max_pixels": 50176}


def channels_first(pixels):
    """uint8 [..,H,W,3] -> uint8 tensor [..,3,H,W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, -3)))


def image_patches(pixels, limits=LIMITS):
    """uint8 [H,W,3] -> (patches [n,1176] f32, grid (1,h,w)).

    The fast processor is the one that transformers 4.57.3 loads by default where torchvision is installed.
    """
    processor = Qwen2VLImageProcessorFast(size={"shortest_edge": limits["min_pixels"], "longest_edge": limits["max_pixels"]})
    found = processor(images=[channels_first(pixels)], return_tensors="pt")
    return found["pixel_values"], tuple(found["image_grid_thw"][0].tolist())


def video_patches(frames, limits=LIMITS):
    """uint8 [F,H,W,3] -> (patches [n,1176] f32, grid (t,h,w)); the pixel limits hold per frame."""
    processor = Qwen2VLVideoProcessor(size={"shortest_edge": limits["min_pixels"], "longest_edge": limits["max_pixels"]})
    found = processor(videos=[channels_first(frames)], return_tensors="pt")
    return found["pixel_values_videos"], tuple(found["video_grid_thw"][0].tolist())


def features(tower, patches, grid):
    """Merged features [n/4, out_hidden_size] of one picture or clip."""
    return tower(patches, grid_thw=torch.tensor([grid]))
