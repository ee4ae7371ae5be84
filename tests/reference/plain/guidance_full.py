"""Guidance of the full pipeline (G.3, G.4) on latents [16,T,h,w], numpy f64 inside."""

import numpy as np

from plain.guidance import Momentum, normalised

# Forwards of each mode in chain order, "<sources>.<context>": sources 0 = none, V = videos, VI = all; contexts as in D.8.
FORWARDS = {
    "vae_txt_vit_wapg": ["0.wotxt_wovit", "VI.wotxt_wovit", "VI.wtxt_wovit", "VI.wtxt_wvit"],
    "vae_txt_vit": ["0.wotxt_wovit", "VI.wotxt_wovit", "VI.wtxt_wovit", "VI.wtxt_wvit"],
    "rv2v_wapg": ["0.wotxt_wovit", "V.wotxt_wovit", "VI.wotxt_wovit", "VI.wtxt_wovit", "VI.wtxt_wvit"],
    "v2v_apg": ["0.wotxt_wovit", "VI.wtxt_wvit"],
}
WEIGHTS = {"vae_txt_vit_wapg": ["img", "txt", "tgt"], "vae_txt_vit": ["img", "txt", "tgt"], "rv2v_wapg": ["vid", "img", "txt", "tgt"]}
# Terms whose forward is replaced by the one before it when the (scaled) weight is not positive.
COLLAPSES = {"vae_txt_vit_wapg": ["img", "txt"], "vae_txt_vit": ["img", "txt"], "rv2v_wapg": ["vid", "img", "txt", "tgt"]}


def apg(difference, reference):
    """The part of `difference` along `reference` counts 0.2; over the whole latent."""
    along = (difference * reference).sum() / max((reference * reference).sum(), 1e-8)
    return (difference - along * reference) + 0.2 * along * reference


def combine(mode, e, x, sigma, omega):
    """Guided velocity, f64. e: forward name -> velocity; x: noisy latents; omega {"vid","img","txt","tgt"}, already scaled."""
    chain = [e[name].astype(np.float64) for name in FORWARDS[mode]]
    if mode == "v2v_apg":
        plain, full = (x.astype(np.float64) - sigma * velocity for velocity in chain)
        guided = plain + omega["txt"] * normalised(full - plain, full, 1.0, 50.0, Momentum(0.0))
        return (x - guided) / sigma
    found = lower = chain[0]
    for name, upper in zip(WEIGHTS[mode], chain[1:]):
        if name in COLLAPSES[mode] and omega[name] <= 0:
            upper = lower
        difference = upper - lower
        found = found + omega[name] * (apg(difference, upper) if mode == "vae_txt_vit_wapg" else difference)
        lower = upper
    return found
