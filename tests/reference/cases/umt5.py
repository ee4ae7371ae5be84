"""UMT5 encoder."""

import numpy as np
import torch
from transformers import UMT5Config, UMT5EncoderModel

from golden import Golden, relative_l2
from plain.text import encode

COMMON = {"feed_forward_proj": "gated-gelu", "layer_norm_epsilon": 1e-6, "dropout_rate": 0.1, "pad_token_id": 0,
          "eos_token_id": 1, "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128}
TIED = {"encoder.embed_tokens.weight": "shared.weight"}


def config(d_model, layers, heads, d_kv, d_ff, vocab):
    return COMMON | {"d_model": d_model, "num_layers": layers, "num_heads": heads, "d_kv": d_kv, "d_ff": d_ff, "vocab_size": vocab}


def weight_rule(name, shape):
    if "layer_norm" in name:
        return 1.0, 0.2
    if name.endswith("shared.weight"):
        return 0.0, 1.0
    if "relative_attention_bias" in name:
        return 0.0, 0.7
    gain = 0.6 if name.endswith((".q.weight", ".k.weight")) else 1.0  # scores are not divided by sqrt(d_kv)
    return 0.0, float(np.float32(gain / np.sqrt(shape[1])))


def build(golden, settings, prefix=""):
    """A tiny encoder whose weights are in the golden's manifest."""
    return golden.weights(UMT5EncoderModel(UMT5Config(**settings)), weight_rule, prefix, TIED)


def make():
    make_one("umt5_a", config(24, 2, 3, 10, 52, 97))
    make_one("umt5_b", config(44, 3, 5, 6, 70, 131))


def make_one(case, settings):
    golden = Golden(case)
    golden.fields = {"config": settings}
    model = build(golden, settings)
    for length in (7, 150):
        # A fixed walk over the vocabulary that ends with </s>, as a prompt does.
        ids = [2 + (31 * i * i + 17 * i) % (settings["vocab_size"] - 2) for i in range(length - 1)] + [1]
        golden.input_values(f"ids_{length}", ids)
        hidden = encode(model, ids)
        assert relative_l2(padded_run(model, ids, length + 9), hidden) < 2e-6
        golden.output(f"hidden_{length}", hidden)
    golden.save()


def padded_run(model, ids, length):
    """The real rows of a run padded to `length` with an attention mask."""
    padded = torch.tensor([ids + [0] * (length - len(ids))])
    mask = (torch.arange(length) < len(ids)).long()[None]
    return model(input_ids=padded, attention_mask=mask).last_hidden_state[:, : len(ids)]
