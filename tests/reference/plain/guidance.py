"""Renderer-only guidance modes (G.5, K.12) on latents [16,T,h,w], numpy f64 inside."""

import numpy as np

# Which sources and which text each forward of a mode sees: V = the first source video, I = the images, T = the prompt.
FORWARDS = {
    "rv2v": ["0", "V", "VI", "VTI"],
    "v2v": ["VI", "VTI"],
    "v2v_chain": ["0", "V", "VTI"],
    "t2v": ["0", "T"],
    "r2v_apg": ["0", "I", "TI"],
    "v2v_apg": ["VI", "VTI"],
    "t2v_apg": ["0", "T"],
}


class Momentum:
    """Running sum of one guidance term over the steps of a request."""

    def __init__(self, factor):
        self.factor = factor
        self.running = 0.0

    def update(self, difference):
        self.running = difference + self.factor * self.running
        return self.running


def normalised(difference, base, eta, threshold, momentum):
    """N of G.3: momentum, then the norm limit, then eta times the part along `base`; per latent frame."""
    difference = momentum.update(difference.astype(np.float64))
    if threshold > 0:
        difference = difference * np.minimum(1.0, threshold / frame_norm(difference))
    direction = base.astype(np.float64) / np.maximum(frame_norm(base.astype(np.float64)), 1e-12)
    parallel = (difference * direction).sum(axis=(0, 2, 3), keepdims=True) * direction
    return (difference - parallel) + eta * parallel


def frame_norm(latents):
    """L2 norm over channel, height and width, [1,T,1,1]."""
    return np.sqrt((latents**2).sum(axis=(0, 2, 3), keepdims=True))


def combine(mode, e, x, sigma, omega, eta, thresholds, momenta):
    """Guided velocity.

    e: forward name -> velocity; x: noisy latents; sigma: noise level of this step;
    omega: {"vid", "img", "txt"}, already scaled after the expert switch; momenta: one `Momentum` per projected term.
    """
    if mode == "rv2v":
        return e["0"] + omega["vid"] * (e["V"] - e["0"]) + omega["img"] * (e["VI"] - e["V"]) + omega["txt"] * (e["VTI"] - e["VI"])
    if mode == "v2v":
        return e["VI"] + omega["txt"] * (e["VTI"] - e["VI"])
    if mode == "v2v_chain":
        return e["0"] + omega["vid"] * (e["V"] - e["0"]) + omega["txt"] * (e["VTI"] - e["V"])
    if mode == "t2v":
        return e["0"] + omega["txt"] * (e["T"] - e["0"])
    clean = {name: x - sigma * velocity for name, velocity in e.items()}
    chain, weights = FORWARDS[mode], {2: ["txt"], 3: ["img", "txt"]}[len(FORWARDS[mode])]
    guided = clean[chain[0]]
    for term, (lower, upper) in enumerate(zip(chain, chain[1:])):
        step = normalised(clean[upper] - clean[lower], clean[upper], eta, thresholds[term], momenta[term])
        guided = guided + omega[weights[term]] * step
    return (x - guided) / sigma
