"""The composed renderer on a tiny renderer-only checkpoint: text to video, a video with two images, images to image."""

import numpy as np
import torch

from cases import dit, tokens, umt5, vae
from golden import Golden
from plain.renderer import Renderer, Request
from plain.scheduler import CONFIG

SYSTEM = "You are a helpful assistant specialized in video editing."
NEGATIVE = "色调艳丽,  过曝，静态 “blur” "
COMMON = {"negative_prompt": NEGATIVE, "system_prompt": SYSTEM, "omega_scale": 0.8, "steps": 6, "flow_shift": 5.0, "seed": 42}


def build(golden):
    """Tensor names in the manifest are `<folder>.<name in that folder's file>`."""
    text, vocab = umt5.config(20, 2, 3, 8, 44, 461), tokens.load().get_piece_size()
    assert text["vocab_size"] > vocab
    expert = dit.config(3, 20, 76, 2, 20)
    golden.fields["configs"] = {"text_encoder": text, "transformer": expert, "transformer_2": expert,
                                "vae": vae.config(6, 16), "scheduler": CONFIG | {"flow_shift": 3.0}}
    configs = golden.fields["configs"]
    return Renderer(tokens.load(), umt5.build(golden, text, "text_encoder."), dit.build(golden, expert, "transformer."),
                    dit.build(golden, expert, "transformer_2."), vae.build(golden, configs["vae"], "vae."))


def make():
    golden = Golden("renderer")
    renderer = build(golden)
    golden.fields["runs"] = {}
    record(golden, renderer, "t2v", {"prompt": "A cat  walks slowly &amp; quietly, “一只猫”.", "mode": "t2v", "num_frames": 5,
           "height": 32, "width": 48, "max_image_size": 848, "omega": {"vid": 1.25, "img": 4.5, "txt": 4.0}})
    video = golden.input_u8("video", [7, 38, 50, 3])
    images = [golden.input_u8("image_0", [45, 70, 3]), golden.input_u8("image_1", [33, 20, 3])]
    record(golden, renderer, "rv2v", {"prompt": "Replace the red car with a blue bicycle.", "mode": "rv2v", "num_frames": 81,
           "max_image_size": 48, "omega": {"vid": 1.25, "img": 2.0, "txt": 3.0}},
           {"video": list(video), "video_fps": 16.0, "images": images})
    record(golden, renderer, "r2v_apg", {"prompt": "一只猫 in a hat.", "mode": "r2v_apg", "num_frames": 1, "height": 47, "width": 30,
           "max_image_size": 848, "omega": {"vid": 1.25, "img": 4.5, "txt": 4.0}, "thresholds": [9.0, 6.0, 1.0], "momentum": 0.2},
           {"images": images})
    golden.save()


def record(golden, renderer, name, settings, media=None):
    """Runs one request and writes its trace."""
    trace = renderer.run(Request(**COMMON, **settings, **(media or {})))
    assert trace["timesteps"][2] >= 875 > trace["timesteps"][3]
    golden.fields["runs"][name] = COMMON | settings | {
        "positive_ids": trace["positive_ids"], "negative_ids": trace["negative_ids"], "timesteps": trace["timesteps"],
        "video": {"input": "video", "fps": 16.0} if "video" in (media or {}) else None,
        "images": ["image_0", "image_1"] if media else []}
    for key in ("positive", "negative", "noise", "frames"):
        golden.output(f"{name}.{key}", trace[key])
    for index, latents in enumerate(trace["sources"]):
        golden.output(f"{name}.source_{index}", latents)
    golden.output(f"{name}.velocities", torch.cat(trace["velocities"]))
    golden.output(f"{name}.states", torch.cat(trace["states"]))
    saturated = np.isin(trace["frames"].numpy(), (0, 255)).mean()
    assert saturated < 0.25, saturated
