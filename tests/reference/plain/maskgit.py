"""Reveal order and step sizes of the MaskGIT loop (D.7, D.10)."""

import math

import numpy as np

BRANCHES = 3


def reveal_order(count, seed):
    """Order of `count` tokens: the 4th shuffle of numpy's generator; each branch shuffles once before."""
    generator = np.random.RandomState(seed)
    for _ in range(BRANCHES):
        generator.shuffle(list(range(count)))
    order = np.arange(count)
    generator.shuffle(order)
    return order.tolist()


def reveals(order, steps):
    """Per step the ascending token indices to predict, or None where the step is skipped: empty, or only token 0."""
    masked, found = set(order), []
    for step in range(steps):
        keep = math.floor(len(order) * math.cos(math.pi / 2 * (step + 1) / steps))
        keep = max(1, min(len(masked) - 1, keep))
        following = set(order[:keep])
        revealed = sorted(masked if step == steps - 1 else masked ^ following)
        masked = following
        found.append(revealed if sum(revealed) else None)
    return found
