"""Renderer-only guidance modes on random velocities, two successive steps."""

import numpy as np

from golden import Golden
from plain.guidance import FORWARDS, Momentum, combine

SHAPE = [16, 2, 4, 6]
OMEGA = {"vid": 1.25, "img": 4.5, "txt": 4.0}
SIGMAS = [0.9613164067268372, 0.4996998906135559]


def make():
    golden = Golden("guidance")
    names = sorted({name for forwards in FORWARDS.values() for name in forwards})
    # Velocities of one step share a part, as those of a model do; e0 alone has std 1.
    steps = []
    for step in range(2):
        shared = golden.input(f"shared_{step}", SHAPE).numpy()
        own = {name: golden.input(f"e_{name}_{step}", SHAPE, 0.0, 0.4).numpy() for name in names}
        x = golden.input(f"x_{step}", SHAPE).numpy()
        steps.append((x, {name: (shared + part).astype(np.float32) for name, part in own.items()}))
    golden.fields = {"omega": OMEGA, "sigmas": SIGMAS, "velocity": "e[name] of a step = f32(shared + e_name)", "runs": []}
    for mode in FORWARDS:
        run(golden, steps, mode, mode, 0.5, [50.0, 50.0, 50.0], 0.0)
    for mode in ("r2v_apg", "v2v_apg", "t2v_apg"):
        run(golden, steps, mode + "_clipped", mode, 0.5, [3.0, 2.0, 1.0], 0.0)
        run(golden, steps, mode + "_momentum", mode, 0.3, [4.0, 5.0, 1.0], 0.3)
        run(golden, steps, mode + "_free", mode, 1.0, [0.0, 0.0, 0.0], -0.5)
    golden.save()


def run(golden, steps, name, mode, eta, thresholds, momentum):
    """Both steps of one setting; output [2,16,T,h,w] in the latent layout."""
    momenta = [Momentum(momentum), Momentum(momentum)]
    found = [combine(mode, {key: e[key] for key in FORWARDS[mode]}, x, sigma, OMEGA, eta, thresholds, momenta)
             for (x, e), sigma in zip(steps, SIGMAS)]
    golden.output(name, np.stack(found).astype(np.float32))
    golden.fields["runs"].append({"name": name, "mode": mode, "eta": eta, "thresholds": thresholds, "momentum": momentum})
