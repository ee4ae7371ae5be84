"""Qwen2.5-VL language model with the planner's mask, up to the tap."""

import numpy as np
import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

from golden import Golden
from plain.planner_lm import SOURCE, TARGET, TEXT, hidden, positions

COMMON = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "max_position_embeddings": 32768, "use_sliding_window": False}
STREAMS = {
    "sources": [("text", 5), ("video", (2, 4, 6)), ("text", 2), ("image", (1, 2, 4)), ("text", 4), ("video", (2, 4, 6)), ("text", 1)],
    "plain": [("text", 7), ("image", (1, 6, 2)), ("text", 1)],
}


def config(heads, kv_heads, head_dim, section, intermediate, layers, vocab):
    return COMMON | {"hidden_size": heads * head_dim, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
                     "rope_scaling": {"type": "mrope", "mrope_section": section}, "intermediate_size": intermediate,
                     "num_hidden_layers": layers, "vocab_size": vocab}


def weight_rule(name, shape):
    if "norm" in name:
        return 1.0, 0.2
    if name.endswith("bias"):
        return 0.0, 0.1
    if "embed_tokens" in name:
        return 0.0, 1.0
    gain = 1.6 if "q_proj" in name or "k_proj" in name else 1.0  # sharp attention, so that mask and positions show
    return 0.0, float(np.float32(gain / np.sqrt(shape[1])))


def build(golden, settings, prefix=""):
    """A tiny language model whose weights are in the golden's manifest."""
    config = Qwen2_5_VLTextConfig(**{**settings, "rope_scaling": dict(settings["rope_scaling"])}, attn_implementation="eager")
    return golden.weights(Qwen2_5_VLTextModel(config), weight_rule, prefix)


def token_types(stream):
    """Token types of a stream whose last visual entry is the target."""
    last = max(index for index, (kind, _) in enumerate(stream) if kind != "text")
    types = []
    for index, (kind, size) in enumerate(stream):
        count = size if kind == "text" else size[0] * size[1] * size[2] // 4
        types += [TEXT if kind == "text" else TARGET if index == last else SOURCE] * count
    return types


def make():
    make_one("planner_lm_a", config(14, 2, 16, [2, 3, 3], 92, 3, 11))
    make_one("planner_lm_b", config(6, 3, 12, [1, 2, 3], 52, 4, 7))


def make_one(case, settings):
    golden = Golden(case)
    model = build(golden, settings)
    golden.fields = {"config": settings, "runs": {}}
    for name, stream in STREAMS.items():
        types, position_ids = token_types(stream), positions(stream)
        embeds = golden.input(f"embeds_{name}", [1, len(types), settings["hidden_size"]])
        found = hidden(model, embeds, position_ids, types)
        check_target_unseen(model, embeds, position_ids, types, found)
        golden.output(f"hidden_{name}", found)
        golden.fields["runs"][name] = {"types": types, "positions": position_ids[:, 0].tolist()}
    golden.save()


def check_target_unseen(model, embeds, position_ids, types, found):
    """Text and source rows must not change with the target's embeddings (D.5)."""
    target = torch.tensor(types) == TARGET
    other = torch.where(target[None, :, None], embeds.flip(1) + 3.0, embeds)
    changed = hidden(model, other, position_ids, types)
    assert torch.equal(changed[:, ~target], found[:, ~target])
    assert not torch.allclose(changed[:, target], found[:, target])
