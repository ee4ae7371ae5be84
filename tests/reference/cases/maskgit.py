"""Reveal order, step sizes, and the draws of torch's generator in the official order."""

from itertools import product

import numpy as np
import torch

from golden import Golden
from plain.maskgit import reveal_order, reveals

SEEDS = [0, 42, 2**31 + 7]
COUNTS = [1, 2, 7, 60, 64, 300]
STEPS = [1, 5, 25, 50]
CHANNELS = 24


def make():
    golden = Golden("maskgit")
    golden.fields = {"orders": [{"seed": seed, "count": count, "order": reveal_order(count, seed)} for seed, count in product(SEEDS, COUNTS)]}
    golden.fields["reveals"] = [step_sizes(seed, count, steps) for seed, count, steps in product(SEEDS[:2], COUNTS, STEPS)]
    golden.fields["draws"] = [draws(42, 7, 5, 12), draws(0, 60, 25, 390), draws(2**31 + 7, 2, 5, 1), draws(42, 64, 1, 3)]
    check_known()
    golden.save()


def step_sizes(seed, count, steps):
    """How many tokens each step predicts; 0 where it is skipped. `never` lists tokens that stay the mask token."""
    found = reveals(reveal_order(count, seed), steps)
    predicted = {token for step in found for token in step or []}
    return {"seed": seed, "count": count, "steps": steps, "sizes": [len(step or []) for step in found],
            "never": sorted(set(range(count)) - predicted)}


def draws(seed, count, steps, latent_tokens):
    """First and last value of every draw: three of the target's latent patches, then one per step that is not skipped."""
    torch.manual_seed(seed)
    shapes = [(latent_tokens, 16, 1, 2, 2)] * 3
    shapes += [(len(step), CHANNELS) for step in reveals(reveal_order(count, seed), steps) if step]
    rows = []
    for shape in shapes:
        flat = torch.randn(shape).flatten()
        rows.append({"shape": list(shape), "first": flat[0].item(), "last": flat[-1].item()})
    return {"seed": seed, "count": count, "steps": steps, "latent_tokens": latent_tokens, "channels": CHANNELS, "draws": rows}


def check_known():
    """The global numpy generator shuffles lists and arrays alike; step sizes are those of the spec."""
    np.random.seed(42)
    for _ in range(3):
        np.random.shuffle(np.arange(300))
    order = list(range(300))
    np.random.shuffle(order)
    assert order == reveal_order(300, 42)
    assert [len(step) for step in reveals(order, 25)][:6] == [1, 2, 3, 4, 5, 7]
    assert [len(step) for step in reveals(order, 50)][-3:] == [10, 9, 9]
