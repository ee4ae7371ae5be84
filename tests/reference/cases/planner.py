"""The composed planner on the tiny checkpoint: with and without sources, every guidance of the head."""

from cases import tiny
from golden import Golden
from plain.request import Request

NEGATIVE = " blurry,  low quality，过曝 "
GENERATION = "You are a helpful assistant specialized in text-to-video generation."
EDITING = "You are a helpful assistant specialized in video editing with reference."
COMMON = {"negative_prompt": NEGATIVE, "system_prompt": "", "seed": 42, "planning_step": 4, "vit_denoising_step": 2, "vit_txt_cfg": 1.2,
          "vit_img_cfg": 1.0, "max_image_size": 48}


def make():
    golden = Golden("planner")
    parts = tiny.build(Golden("tiny"))
    golden.fields = {"checkpoint": "tiny", "runs": {}}
    frames = golden.input_u8("video", [21, 38, 50, 3])
    images = [golden.input_u8("image_0", [45, 70, 3]), golden.input_u8("image_1", [33, 20, 3])]
    media = {"videos": [(frames, 8.0)], "images": images}
    size = {"height": 32, "width": 48}
    plain = {"prompt": "A cat  walks slowly &amp; quietly, “一只猫”.", "planner_system": GENERATION, "num_frames": 33, **size}
    edit = {"prompt": "Replace the red car with a blue bicycle.", "planner_system": EDITING, "num_frames": 5, "height": 0, "width": 0}
    record(golden, parts, "plain", plain, {}, 30)
    record(golden, parts, "plain_short_negative", plain | {"negative_prompt": " ", "num_frames": 1, "seed": 0, "vit_txt_cfg": 1.0}, {}, 6)
    # More tokens and steps than one run of the flow head takes.
    record(golden, parts, "plain_at_once", plain | {"num_frames": 97, "planning_step": 1, "vit_denoising_step": 9}, {}, 150)
    record(golden, parts, "sources", edit, media, 12)
    record(golden, parts, "sources_guided", edit | {"vit_img_cfg": 0.7, "vit_denoising_step": 1, "planning_step": 5, "seed": 2**31 + 7}, media, 12)
    record(golden, parts, "images", edit | size | {"vit_img_cfg": None, "num_frames": 33}, {"images": images}, 17)
    golden.save()


def record(golden, parts, name, settings, media, latent_tokens):
    """Runs one request and writes its trace."""
    settings = COMMON | settings
    trace = parts.planner.run(Request(**settings, **media), latent_tokens)
    golden.fields["runs"][name] = settings | {
        "video": {"input": "video", "fps": 8.0} if "videos" in media else None, "images": ["image_0", "image_1"] if media else [],
        "latent_tokens": latent_tokens, **plan_fields(trace)}
    golden.output(f"{name}.planned", trace["planned"])
    golden.output(f"{name}.wtxt_wvit", trace["wtxt_wvit"])
    if name not in ("sources_guided", "images"):  # the same uncond branch as in "sources"
        golden.output(f"{name}.wotxt_wovit", trace["wotxt_wovit"])


def plan_fields(trace):
    """The integers of a plan. `wtxt_wovit` is not kept: the rows of `wtxt_wvit` whose type is not 3."""
    branches = {name: {"ids": branch.ids, "types": "".join(map(str, branch.types)), "last_position": branch.positions[:, 0, -1].tolist()}
                for name, branch in trace["branches"].items()}
    return {"source_grids": [list(grid) for _, grid, _ in trace["sources"]], "target_grid": list(trace["target_grid"]),
            "branches": branches, "order": trace["order"], "reveals": trace["reveals"]}
