"""Qwen2-VL's picture and clip processors on awkward sizes, and the size rule. Sizes are (height, width).

Patches are kept as the uint8 pixels before normalisation, which the processor's output gives back exactly; of most pictures every third to eleventh only.
"""

import numpy as np
import torch
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from golden import Golden
from plain.vision import LIMITS, image_patches, video_patches

TIGHT = {"min_pixels": 3136, "max_pixels": 6272}
SIZES = [(480, 832), (480, 848), (720, 1280), (832, 480), (1280, 720), (512, 512), (1080, 1920), (2160, 4096), (240, 320), (224, 224), (225, 223), (56, 56),
         (55, 57), (1, 1), (2, 3), (13, 17), (14, 14), (28, 28), (42, 42), (70, 70), (98, 98), (41, 43), (29, 27), (100, 3), (3, 100), (1, 150), (150, 1),
         (1, 199), (1, 200), (1, 201), (201, 1), (5, 1000), (1000, 5), (7, 1500), (10, 1999), (333, 777), (239, 241), (360, 640), (853, 480), (210, 238), (238, 210),
         (126, 126), (154, 322), (322, 154), (196, 252), (252, 196), (224, 225), (8, 392), (392, 8), (36, 87), (112, 448), (448, 112), (449, 113), (64, 48), (38, 50),
         (32, 48), (47, 30), (16, 16), (31, 101), (999, 1001), (3000, 100), (4320, 7680)]
IMAGES = [("square", (56, 56), LIMITS), ("dot", (1, 1), LIMITS), ("tiny", (5, 7), LIMITS), ("flat", (2, 61), LIMITS), ("tall", (50, 3), LIMITS),
          ("odd", (71, 45), LIMITS), ("shrunk", (113, 139), TIGHT), ("shrunk_wide", (31, 260), TIGHT)]
VIDEOS = [("one", (1, 40, 60), LIMITS), ("two", (2, 33, 41), LIMITS), ("three", (3, 59, 58), LIMITS), ("shrunk", (3, 90, 120), TIGHT)]
LARGE = [("large", (480, 832)), ("large_tall", (700, 301))]


def make():
    golden = Golden("vit_preprocess")
    golden.fields = {"limits": LIMITS, "mean": OPENAI_CLIP_MEAN, "std": OPENAI_CLIP_STD, "pictures": []}
    golden.fields["smart_resize_columns"] = ["height", "width", "new_height", "new_width"]
    golden.fields["smart_resize"] = [[*size, *resized(size)] for size in SIZES]
    for name, size, limits in IMAGES:
        pixels = golden.input_u8(f"image_{name}", [*size, 3], 128.0, 80.0)
        record(golden, f"image_{name}", *image_patches(pixels, limits), limits, 3 if name == "odd" else 11)
    for name, size, limits in VIDEOS:
        frames = golden.input_u8(f"video_{name}", [*size, 3], 128.0, 80.0)
        record(golden, f"video_{name}", *video_patches(frames, limits), limits, 5 if name == "three" else 11)
    for name, size in LARGE:
        pixels = golden.input_u8(f"image_{name}", [*size, 3], 128.0, 80.0)
        record(golden, f"image_{name}", *image_patches(pixels), LIMITS, 41)
    golden.output("normalised", image_patches(golden.input_u8("image_plain", [56, 56, 3], 128.0, 80.0))[0][:1])
    golden.save()


def resized(size):
    """(height, width) after the size rule, or (0, 0) where the aspect ratio is refused."""
    try:
        return smart_resize(*size, factor=28, **LIMITS)
    except ValueError:
        return 0, 0


def record(golden, name, patches, grid, limits, every):
    """Keeps every `every`-th patch."""
    golden.output(name, recovered(patches)[::every])
    golden.fields["pictures"].append({"input": name, "grid": list(grid), "max_pixels": limits["max_pixels"], "every": every})


def recovered(patches):
    """uint8 pixels [n,1176] before rescaling and normalisation; channel is the slowest of (c, 2, 14, 14)."""
    mean, std = (torch.tensor(numbers, dtype=torch.float64).repeat_interleave(2 * 14 * 14) for numbers in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    levels = (patches.double() * std + mean) * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    return levels.round().numpy().astype(np.uint8)
