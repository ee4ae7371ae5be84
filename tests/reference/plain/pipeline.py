"""The whole full-model pipeline: prompts and pixels in, frames out (C to G), the plain schedule throughout."""

import numpy as np
import torch

from plain import dit, guidance_full, media, text, vae
from plain.planner import Planner
from plain.scheduler import unipc

CONTEXT_ROWS = 512
BOUNDARY = 875
MIN_SIZE = 240


class Pipeline:
    """The parts of a full checkpoint."""

    def __init__(self, planner: Planner, tokenizer, text_encoder, transformer, transformer_2, vae):
        self.planner, self.tokenizer, self.text_encoder = planner, tokenizer, text_encoder
        self.experts, self.vae = {"high": transformer, "low": transformer_2}, vae

    def run(self, request):
        """Every intermediate that is worth comparing, and `frames` uint8 [F,H,W,3]."""
        trace = {"positive_ids": text.tokens(self.tokenizer, text.clean(request.system_prompt + text.clean(request.prompt))),
                 "negative_ids": text.tokens(self.tokenizer, text.clean(request.negative_prompt))}
        sources = self.encode_sources(request)
        placeholder = placeholder_shape(request, sources)
        trace["plan"] = self.planner.run(request, int(np.prod(placeholder)) // 4)
        trace["latents"] = [latents for _, latents in sources]
        trace["contexts"] = self.contexts(trace)
        trace |= self.sample(request, trace["contexts"], source_sets(sources), latent_shape(request, placeholder))
        trace["frames"] = media.to_u8(vae.decode(self.vae, trace["states"][-1]))
        return trace

    def encode_sources(self, request):
        """(kind, latents) in id order: videos, then images (B.9)."""
        clips = [("video", vae_frames(frames, fps, request)) for frames, fps in request.videos]
        clips += [("image", image[None]) for image in request.images]
        return [(kind, vae.encode(self.vae, media.to_unit([fit(frame, request) for frame in clip]))) for kind, clip in clips]

    def contexts(self, trace):
        """Token states of the T5, then rows of the planner, zero rows up to 512 (D.8)."""
        positive, negative = (text.encode(self.text_encoder, trace[name]) for name in ("positive_ids", "negative_ids"))
        parts = {"wtxt_wvit": positive, "wtxt_wovit": positive, "wotxt_wovit": negative}
        return {name: text.zero_padded(torch.cat([tokens, trace["plan"][name][None]], 1), CONTEXT_ROWS) for name, tokens in parts.items()}

    def sample(self, request, contexts, combos, shape):
        """The denoising loop: states [1,16,T,2h,2w], one per step."""
        scheduler = unipc(request.steps, request.flow_shift)
        x = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(request.seed))
        found = {"noise": x, "states": [], "timesteps": scheduler.timesteps.tolist()}
        for index, timestep in enumerate(found["timesteps"]):
            high = timestep >= BOUNDARY
            omega = {name: weight * (1.0 if high else request.omega_scale) for name, weight in request.omega.items()}
            e = {}
            for name in guidance_full.FORWARDS[request.mode]:
                combo, context = name.split(".")
                packed = dit.velocity(self.experts["high" if high else "low"], x, combos[combo], timestep, contexts[context])
                e[name] = dit.unpack(packed, dit.grid_of(x))[0].numpy()
            v = guidance_full.combine(request.mode, e, x[0].numpy(), float(scheduler.sigmas[index]), omega)
            x = scheduler.step(torch.from_numpy(v)[None].to(x.dtype), timestep, x).prev_sample
            found["states"].append(x)
        return found


def source_sets(sources):
    """Which (latents, source id) each combination sees: none, videos, all (B.9, G.3)."""
    count = len(sources)
    ids = [1.0 + (4.0 * k / (count - 1) if count > 5 else k) for k in range(count)]
    numbered = [(latents, source_id) for (_, latents), source_id in zip(sources, ids)]
    return {"0": [], "V": [entry for entry, (kind, _) in zip(numbered, sources) if kind == "video"], "VI": numbered}


def vae_frames(frames, fps, request):
    """Frames that the VAE sees: `fps` a second, 4n + 1 of them (C.2)."""
    indices = media.temporal(len(frames), fps, request.fps, 4, 1, request.num_frames, False)
    return frames[np.minimum(indices, len(frames) - 1)]


def fit(frame, request):
    """One frame or image after C.1."""
    return media.resize(frame, media.spatial(frame.shape[1], frame.shape[0], request.max_image_size, MIN_SIZE))


def placeholder_shape(request, sources):
    """(T, H/8, W/8) of the target placeholder's latent (C.3)."""
    if request.num_frames > 1 and request.videos:
        return tuple(sources[0][1].shape[2:])
    width, height = media.spatial(request.width, request.height, request.max_image_size, MIN_SIZE)
    frames = [0] if request.num_frames == 1 else media.temporal(request.num_frames, request.fps, request.fps, 4, 1, request.num_frames, False)
    return (len(frames) - 1) // 4 + 1, height // 8, width // 8


def latent_shape(request, placeholder):
    """[1,16,T,H/8,W/8] of the output: the request's size if it gives one, else the placeholder's (C.3)."""
    frames = min(request.num_frames, 4 * (placeholder[0] - 1) + 1) // 4 * 4 + 1
    height, width = (given // 8 if request.height > 0 and request.width > 0 else own for given, own in zip((request.height, request.width), placeholder[1:]))
    return 1, 16, (frames - 1) // 4 + 1, height, width
