"""torch's CPU randn (K.14): fresh generators, and several draws from one generator."""

import torch

from golden import Golden

SEEDS = [0, 42, 2**31 + 7, 12345678901]
SIZES = [1, 5, 15, 16, 17, 31, 33, 1000]
SEQUENCE = [5, 17, 3, 16, 1, 40, 2]


def make():
    golden = Golden("randn")
    golden.fields = {"seeds": SEEDS, "sizes": SIZES, "sequence": SEQUENCE}
    for seed in SEEDS:
        for size in SIZES:
            golden.output(f"seed_{seed}_size_{size}", torch.randn(size, generator=torch.Generator("cpu").manual_seed(seed)))
        generator = torch.Generator("cpu").manual_seed(seed)
        golden.output(f"seed_{seed}_sequence", torch.cat([torch.randn(size, generator=generator) for size in SEQUENCE]))
    golden.save()
