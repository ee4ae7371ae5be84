"""The whole renderer-only pipeline (Bernini-R): prompts and pixels in, frames out."""

from dataclasses import dataclass, field

import torch

from plain import dit, guidance, media, text, vae
from plain.scheduler import unipc

CONTEXT_ROWS = 512
BOUNDARY = 875
FPS = 16
MIN_SIZE = 1


@dataclass
class Request:
    """One generation. Videos are lists of uint8 [H,W,3] frames with their rate, images one such array each."""

    prompt: str
    negative_prompt: str
    system_prompt: str
    mode: str
    omega: dict
    omega_scale: float
    steps: int
    flow_shift: float
    seed: int
    num_frames: int
    max_image_size: int
    height: int = 0
    width: int = 0
    video: list = None
    video_fps: float = None
    images: list = field(default_factory=list)
    eta: float = 0.5
    thresholds: tuple = (50.0, 50.0, 50.0)
    momentum: float = 0.0


@dataclass
class Renderer:
    """The parts of a diffusers-layout checkpoint."""

    tokenizer: object
    text_encoder: torch.nn.Module
    transformer: torch.nn.Module
    transformer_2: torch.nn.Module
    vae: torch.nn.Module

    def run(self, request):
        """Every intermediate that is worth comparing, and `frames` uint8 [F,H,W,3]."""
        trace = {"positive_ids": text.tokens(self.tokenizer, request.system_prompt + text.clean(request.prompt)),
                 "negative_ids": text.tokens(self.tokenizer, request.negative_prompt)}
        trace["positive"] = text.encode(self.text_encoder, trace["positive_ids"])
        trace["negative"] = text.encode(self.text_encoder, trace["negative_ids"])
        trace["sources"] = self.encode_sources(request)
        trace |= self.sample(request, trace)
        trace["frames"] = media.to_u8(vae.decode(self.vae, trace["states"][-1]))
        return trace

    def encode_sources(self, request):
        """Source latents in id order: the video, then the images (B.9)."""
        clips = [load_video(request)] if request.video else []
        clips += [[image] for image in request.images]
        return [vae.encode(self.vae, media.to_unit([fit(frame, request) for frame in clip])) for clip in clips]

    def sample(self, request, trace):
        """The denoising loop: velocities and states, each [1,16,T,2h,2w], one per step."""
        scheduler = unipc(request.steps, request.flow_shift)
        contexts = {"positive": text.zero_padded(trace["positive"], CONTEXT_ROWS),
                    "negative": text.zero_padded(trace["negative"], CONTEXT_ROWS)}
        combos = source_sets(trace["sources"], bool(request.video))
        momenta = [guidance.Momentum(request.momentum), guidance.Momentum(request.momentum)]
        x = torch.randn(latent_shape(request, trace["sources"]), generator=torch.Generator("cpu").manual_seed(request.seed))
        found = {"noise": x, "velocities": [], "states": [], "timesteps": scheduler.timesteps.tolist()}
        for index, timestep in enumerate(found["timesteps"]):
            high = timestep >= BOUNDARY
            expert = self.transformer if high else self.transformer_2
            omega = {name: weight * (1.0 if high else request.omega_scale) for name, weight in request.omega.items()}
            e = {name: forward(expert, x, combos, name, timestep, contexts) for name in guidance.FORWARDS[request.mode]}
            v = guidance.combine(request.mode, e, x[0].numpy(), float(scheduler.sigmas[index]), omega,
                                 request.eta, request.thresholds, momenta)
            v = torch.from_numpy(v)[None].to(x.dtype)
            x = scheduler.step(v, timestep, x).prev_sample
            found["velocities"].append(v)
            found["states"].append(x)
        return found


def forward(expert, x, combos, name, timestep, contexts):
    """Velocity [16,T,2h,2w] (numpy) of one forward, named by what it sees: "0", "V", "VI", "I", with "T" for the prompt."""
    context = contexts["positive" if "T" in name else "negative"]
    sources = combos[name.replace("T", "") or "0"]
    packed = dit.velocity(expert, x, sources, timestep, context)
    return dit.unpack(packed, dit.grid_of(x))[0].numpy()


def source_sets(sources, has_video):
    """Which (latents, source id) each combination sees; images alone count from 1 (B.9)."""
    numbered = [(latents, 1.0 + index) for index, latents in enumerate(sources)]
    images = sources[1:] if has_video else sources
    return {"0": [], "V": numbered[:1] if has_video else [], "VI": numbered,
            "I": [(latents, 1.0 + index) for index, latents in enumerate(images)]}


def load_video(request):
    """Frames after C.2, read with clamped indices."""
    last = len(request.video) - 1
    indices = media.temporal(last + 1, request.video_fps, FPS, 4, 1, request.num_frames, True)
    return [request.video[min(index, last)] for index in indices]


def fit(frame, request):
    """One frame or image after C.1."""
    return media.resize(frame, media.spatial(frame.shape[1], frame.shape[0], request.max_image_size, MIN_SIZE))


def latent_shape(request, sources):
    """[1,16,T,H/8,W/8]: that of the source video if there is one, else from the request."""
    if request.video:
        return tuple(sources[0].shape)
    frames = request.num_frames // 4 * 4 + 1
    height, width = (max(16, round(side / 16) * 16) for side in (request.height, request.width))
    return 1, 16, (frames - 1) // 4 + 1, height // 8, width // 8
