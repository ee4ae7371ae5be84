"""Wan VAE: encode and decode, chunk by chunk with diffusers' own caches."""

import numpy as np
from diffusers import AutoencoderKLWan

from golden import Golden
from plain.vae import decode, encode

COMMON = {"dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": [], "temperal_downsample": [False, True, True], "dropout": 0.0}
MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, 0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, 3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]


def config(base_dim, z_dim):
    return COMMON | {"base_dim": base_dim, "z_dim": z_dim, "latents_mean": MEAN[:z_dim], "latents_std": STD[:z_dim]}


def weight_rule(name, shape):
    if name.endswith("gamma"):
        return 1.0, 0.2
    if name.endswith("bias"):
        return 0.0, 0.1
    gain = {"encoder.conv_out.weight": 2.0, "decoder.conv_out.weight": 1.3}.get(name, 1.0)  # a few pixels beyond the clamp
    return 0.0, float(np.float32(gain / np.sqrt(np.prod(shape[1:]))))


def build(golden, settings, prefix=""):
    """A tiny VAE whose weights are in the golden's manifest."""
    return golden.weights(AutoencoderKLWan(**settings), weight_rule, prefix)


def make():
    make_one("vae_a", config(6, 16), 16, 40)
    make_one("vae_b", config(4, 4), 24, 16)


def make_one(case, settings, height, width):
    golden = Golden(case)
    golden.fields = {"config": settings}
    vae = build(golden, settings)
    for count in (1, 5, 13):
        frames = golden.input(f"frames_{count}", [1, 3, count, height, width], 0.0, 0.5)
        golden.output(f"latents_{count}", encode(vae, frames))
    for count in (1, 2, 4):
        latents = golden.input(f"latents_{count}", [1, settings["z_dim"], count, height // 8, width // 8])
        frames = decode(vae, latents)
        clamped = (frames.abs() == 1).float().mean().item()
        assert 0 < clamped < 0.3, clamped
        golden.output(f"frames_{4 * count - 3}", frames)
    golden.save()
