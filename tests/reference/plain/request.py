"""One generation with the full model, as the reference sees it."""

from dataclasses import dataclass, field


@dataclass
class Request:
    """Videos are (uint8 [F,H,W,3], rate) pairs, images uint8 [H,W,3]. `planner_system` is D.2's sentence, `system_prompt` that of the T5."""

    prompt: str
    negative_prompt: str
    planner_system: str
    system_prompt: str
    num_frames: int
    height: int
    width: int
    seed: int
    planning_step: int
    vit_denoising_step: int
    vit_txt_cfg: float
    vit_img_cfg: float | None
    max_image_size: int
    mode: str = ""
    omega: dict = field(default_factory=dict)
    omega_scale: float = 1.0
    steps: int = 0
    flow_shift: float = 5.0
    fps: int = 16
    videos: list = field(default_factory=list)
    images: list = field(default_factory=list)
