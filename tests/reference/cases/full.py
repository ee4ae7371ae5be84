"""The whole pipeline on the tiny checkpoint: text to video, video with references, image to image, text to image."""

import numpy as np
import torch

from cases import tiny
from cases.planner import plan_fields
from golden import Golden
from plain.pipeline import Pipeline
from plain.request import Request

NEGATIVE = " 色调艳丽,  过曝，静态 “blur” "
COMMON = {"negative_prompt": NEGATIVE, "seed": 42, "steps": 6, "flow_shift": 5.0, "planning_step": 4, "vit_denoising_step": 2, "vit_txt_cfg": 1.2, "vit_img_cfg": 1.0}
PICTURE = COMMON | {"mode": "vae_txt_vit_wapg", "num_frames": 1, "omega_scale": 0.75, "max_image_size": 842}


def sentence(task):
    return f"You are a helpful assistant specialized in {task}."


def runs(golden):
    """(name, settings, media) of every run."""
    frames = golden.input_u8("video", [21, 38, 50, 3])
    images = [golden.input_u8("image_0", [45, 70, 3]), golden.input_u8("image_1", [33, 20, 3])]
    yield "t2v", COMMON | {"prompt": "A cat  walks slowly &amp; quietly, “一只猫”.", "planner_system": sentence("text-to-video generation"),
                           "mode": "vae_txt_vit_wapg", "omega": {"vid": 1.0, "img": 1.0, "txt": 4.0, "tgt": 0.5}, "omega_scale": 1.0,
                           "num_frames": 5, "height": 16, "width": 48, "max_image_size": 842}, {}
    yield "rv2v", COMMON | {"prompt": "Replace the red car with a blue bicycle.", "planner_system": sentence("video editing with reference"),
                            "mode": "rv2v_wapg", "omega": {"vid": 0.75, "img": 2.0, "txt": 3.0, "tgt": 1.5}, "omega_scale": 0.75,
                            "num_frames": 7, "height": 0, "width": 0, "max_image_size": 48}, {"videos": [(frames, 8.0)], "images": images}
    yield "i2i", PICTURE | {"prompt": "Turn the picture into a watercolor painting.", "planner_system": sentence("image editing"),
                            "omega": {"vid": 1.25, "img": 1.25, "txt": 3.0, "tgt": 0.5}, "height": 48, "width": 32, "max_image_size": 64}, {"images": images[:1]}
    yield "t2i", PICTURE | {"prompt": "一只猫 in a hat.", "planner_system": sentence("text-to-image generation"), "seed": 7,
                            "omega": {"vid": 1.0, "img": 1.0, "txt": 4.0, "tgt": 1.2}, "height": 32, "width": 32}, {}


def make():
    golden = Golden("full")
    pipeline = Pipeline(**vars(tiny.build(Golden("tiny"))))
    golden.fields = {"checkpoint": "tiny", "runs": {}}
    for name, settings, media in runs(golden):
        record(golden, pipeline, name, settings | {"system_prompt": settings["planner_system"]}, media)
    golden.save()


def record(golden, pipeline, name, settings, media):
    """Runs one request and writes its trace: contexts as their planner rows, the first, last high, first low and last state."""
    trace = pipeline.run(Request(**settings, **media))
    assert trace["timesteps"][2] >= 875 > trace["timesteps"][3]
    golden.fields["runs"][name] = settings | {
        "positive_ids": trace["positive_ids"], "negative_ids": trace["negative_ids"], "timesteps": trace["timesteps"],
        "video": {"input": "video", "fps": 8.0} if "videos" in media else None, "images": [f"image_{i}" for i in range(len(media.get("images", [])))],
        "context_rows": {key: context.shape[1] for key, context in trace["contexts"].items()}, "states": [0, 2, 3, 5], **plan_fields(trace["plan"])}
    for key in ("planned", "wtxt_wvit", "wotxt_wovit"):
        golden.output(f"{name}.{key}", trace["plan"][key])
    for index, latents in enumerate(trace["latents"]):
        golden.output(f"{name}.source_{index}", latents)
    golden.output(f"{name}.states", torch.cat([trace["states"][index] for index in (0, 2, 3, 5)]))
    golden.output(f"{name}.frames", trace["frames"])
    saturated = np.isin(trace["frames"].numpy(), (0, 255)).mean()
    assert saturated < 0.25, saturated
