"""Qwen2.5-VL vision tower: window and full attention, edge windows, pictures smaller than a window."""

import numpy as np
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from golden import Golden
from plain.vision import features

COMMON = {"hidden_act": "silu", "in_channels": 3, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2,
          "window_size": 112, "tokens_per_second": 2}
GRIDS = {"image": (1, 16, 16), "video": (3, 12, 20), "small": (1, 4, 6), "narrow": (2, 10, 6)}


def config(hidden, heads, intermediate, depth, fullatt, out_hidden):
    return COMMON | {"hidden_size": hidden, "num_heads": heads, "intermediate_size": intermediate, "depth": depth,
                     "fullatt_block_indexes": fullatt, "out_hidden_size": out_hidden}


def weight_rule(name, shape):
    if "norm" in name or "ln_q" in name:
        return 1.0, 0.2
    if name.endswith("bias"):
        return 0.0, 0.1
    gain = 1.6 if "qkv" in name else 1.0  # sharp attention, so that windows and rotary angles show
    return 0.0, float(np.float32(gain / np.sqrt(np.prod(shape[1:]))))


def build(golden, settings, prefix=""):
    """A tiny tower whose weights are in the golden's manifest."""
    config = Qwen2_5_VLVisionConfig(**settings, attn_implementation="eager")
    return golden.weights(Qwen2_5_VisionTransformerPretrainedModel(config), weight_rule, prefix)


def make():
    make_one("vision_a", config(36, 3, 76, 4, [1, 3], 44))
    make_one("vision_b", config(40, 2, 54, 3, [1], 52))


def make_one(case, settings):
    golden = Golden(case)
    tower = build(golden, settings)
    golden.fields = {"config": settings, "grids": GRIDS}
    for name, grid in GRIDS.items():
        patches = golden.input(f"patches_{name}", [int(np.prod(grid)), 1176])
        golden.output(f"features_{name}", features(tower, patches, grid))
    golden.save()
