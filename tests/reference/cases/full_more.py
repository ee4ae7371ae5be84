"""More runs of the whole pipeline, kept short: the other video tasks and modes, several videos, a size that differs from the source's."""

from cases import tiny
from cases.full import COMMON, sentence
from golden import Golden
from plain.pipeline import Pipeline
from plain.request import Request

SIZE = {"height": 16, "width": 16}
CLIP = COMMON | SIZE | {"num_frames": 5, "max_image_size": 48, "steps": 4, "omega_scale": 0.75, "planning_step": 5, "vit_denoising_step": 1}
PLAIN = "You are a helpful assistant."


def runs(golden):
    """(name, settings, names of videos, names of images)."""
    yield "v2v", CLIP | {"prompt": "Make it rain.", "planner_system": sentence("video editing"), "mode": "vae_txt_vit_wapg", "seed": 1,
                         "omega": {"vid": 1.25, "img": 1.25, "txt": 3.0, "tgt": 1.2}}, ["video"], []
    yield "mv2v", CLIP | {"prompt": "The cat jumps.", "planner_system": PLAIN, "mode": "v2v_apg", "omega": {"vid": 1.0, "img": 1.0, "txt": 3.0, "tgt": 9.0},
                          "height": 32}, ["video"], []
    yield "ads2v", CLIP | {"prompt": "Put the bottle on the table.", "planner_system": PLAIN, "mode": "vae_txt_vit", "vit_img_cfg": 0.7,
                           "omega": {"vid": 1.0, "img": 1.5, "txt": 2.0, "tgt": 1.2}}, ["video"], ["image_1"]
    yield "r2v", CLIP | {"prompt": "一只猫 runs.", "planner_system": sentence("subject-to-video generation"), "mode": "vae_txt_vit_wapg", "negative_prompt": " ",
                         "omega": {"vid": 1.0, "img": 2.0, "txt": 3.0, "tgt": 1.5}}, [], ["image_0", "image_1"]
    yield "rv2v_two_videos", CLIP | {"prompt": "Blend both clips.", "planner_system": sentence("video editing with reference"), "mode": "rv2v_wapg",
                                     "omega": {"vid": 1.5, "img": 0.0, "txt": 3.0, "tgt": 1.5}}, ["video", "other_video"], ["image_1"]
    yield "rv2v_no_video", CLIP | {"prompt": "A quiet village.", "planner_system": sentence("video editing with reference"), "mode": "rv2v_wapg",
                                   "omega": {"vid": 1.5, "img": 2.0, "txt": 3.0, "tgt": -1.0}}, [], ["image_0"]


def make():
    golden = Golden("full_more")
    pipeline = Pipeline(**vars(tiny.build(Golden("tiny"))))
    videos = {"video": (golden.input_u8("video", [21, 38, 50, 3]), 8.0), "other_video": (golden.input_u8("other_video", [11, 24, 20, 3]), 15.0)}
    images = {"image_0": golden.input_u8("image_0", [45, 70, 3]), "image_1": golden.input_u8("image_1", [33, 20, 3])}
    golden.fields = {"checkpoint": "tiny", "runs": {}}
    for name, settings, clips, pictures in runs(golden):
        settings |= {"system_prompt": settings["planner_system"]}
        trace = pipeline.run(Request(**settings, videos=[videos[clip] for clip in clips], images=[images[picture] for picture in pictures]))
        golden.fields["runs"][name] = settings | {"videos": [{"input": clip, "fps": videos[clip][1]} for clip in clips], "images": pictures,
                                                  "source_grids": [list(grid) for _, grid, _ in trace["plan"]["sources"]],
                                                  "target_grid": list(trace["plan"]["target_grid"])}
        golden.output(f"{name}.planned", trace["plan"]["planned"])
        golden.output(f"{name}.frames", trace["frames"])
    golden.save()
