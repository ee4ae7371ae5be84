"""The flow-matching head: its network, its noise levels and its sampler under every guidance."""

import numpy as np
import torch

from golden import Golden, relative_l2
from plain.flow_head import FlowHead, guided, sample, sigmas

ROWS = 7
GIVEN_5 = [1.0, 0.889258, 0.750935, 0.573259, 0.336653, 0.0]
RUNS = [("default_5", 5, 1.2, 1.0), ("default_1", 1, 1.2, 1.0), ("image_5", 5, 1.2, 0.7), ("image_1", 1, 1.2, 0.7), ("text_off", 5, 1.0, 1.0),
        ("text_low", 1, 0.8, 0.7), ("no_image_5", 5, 1.2, None), ("no_image_1", 1, 1.2, None), ("text_high_3", 3, 4.0, 1.5)]


def weight_rule(name, shape):
    if "in_ln" in name and name.endswith("weight"):
        return 1.0, 0.2
    if name.endswith("bias"):
        return 0.0, 0.1
    gain = 0.6 if "adaLN" in name else 1.0
    return 0.0, float(np.float32(gain / np.sqrt(shape[1])))


def config(channels, width, depth):
    return {"z_channels": channels, "target_channels": channels, "width": width, "depth": depth}


def build(golden, settings, prefix=""):
    """A tiny head whose weights are in the golden's manifest."""
    return golden.weights(FlowHead(**settings), weight_rule, prefix)


def make():
    golden = Golden("flow_head")
    settings = config(44, 60, 3)
    head = build(golden, settings)
    golden.fields = {"clip_diff_cfg": settings, "shift": 2.0, "sigmas": {str(steps): sigmas(steps) for steps in (1, 3, 5, 10)}}
    assert np.allclose(sigmas(5), GIVEN_5, atol=1e-6)
    noise, cond, uncond, imgcond = (golden.input(name, [ROWS, 44]) for name in ("noise", "cond", "uncond", "imgcond"))
    golden.fields["velocities"] = [{"name": f"velocity_{t}", "t": t, "x": "noise", "cond": "cond"} for t in (1000.0, 889.258, 336.653, 3.0)]
    for run in golden.fields["velocities"]:
        golden.output(run["name"], head(noise, run["t"], cond))
    golden.fields["samples"] = []
    for name, steps, txt, img in RUNS:
        golden.output(name, sample(head, noise, cond, uncond, imgcond, steps, txt, img))
        golden.fields["samples"].append({"name": name, "steps": steps, "vit_txt_cfg": txt, "vit_img_cfg": img})
    check_simplifications(head, noise, cond, uncond, imgcond)
    golden.save()


def check_simplifications(head, noise, cond, uncond, imgcond):
    """With img 1 the uncond branch cancels; without sources imgcond is cond and the text weight has no effect."""
    f = lambda c: head(noise, 500.0, c)
    short = f(imgcond) + 1.2 * (f(cond) - f(imgcond))
    assert relative_l2(guided(f, cond, uncond, imgcond, 1.2, 1.0), short) < 1e-6
    assert relative_l2(guided(f, cond, uncond, cond, 1.2, 1.0), f(cond)) < 1e-6
    assert not torch.allclose(guided(f, cond, uncond, imgcond, 1.2, 0.7), short)
