"""Wan VAE with the latent statistics of F.2."""

import torch


def statistics(vae):
    """(mean, std) [1,C,1,1,1]."""
    return tuple(torch.tensor(numbers).view(1, -1, 1, 1, 1) for numbers in (vae.config.latents_mean, vae.config.latents_std))


def encode(vae, frames):
    """frames [1,3,F,H,W] in [-1,1] -> normalised latents [1,C,T,H/8,W/8]: posterior mode, (mu - mean) / std (C.4)."""
    mean, std = statistics(vae)
    return (vae.encode(frames).latent_dist.mode() - mean) / std


def decode(vae, latents):
    """Normalised latents -> frames [1,3,F,H,W], clamped to [-1,1] by diffusers (C.6)."""
    mean, std = statistics(vae)
    return vae.decode(latents * std + mean).sample
