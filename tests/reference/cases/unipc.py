"""Schedulers: grids, and a trajectory whose model is v = v_i + 0.3 x."""

import torch

from golden import Golden
from plain.scheduler import CONFIG, euler_sigmas, unipc

SHAPE = [1, 4, 16]
FLOW_SHIFT = 5.0
GIVEN_40 = "999 994 989 983 978 972 965 959 952 944 937 929 920 911 902 892 882 870 859 846 833 818 803 786 768 749 728 706 681 654 624 591 555 514 468 416 356 288 208 113"


def make():
    golden = Golden("unipc")
    golden.fields = {"config": CONFIG, "flow_shift": FLOW_SHIFT, "model": "v = input v{i} + 0.3 * x", "grids": {}}
    x = golden.input("x", SHAPE)
    velocities = [golden.input(f"v{i}", SHAPE) for i in range(50)]
    for steps in (1, 2, 6, 7, 40, 50):
        golden.fields["grids"][str(steps)] = run(golden, steps, x, velocities)
    assert golden.fields["grids"]["40"]["timesteps"] == [int(t) for t in GIVEN_40.split()]
    golden.save()


def run(golden, steps, start, velocities):
    """Both schedulers over `steps`; the state after each step is an output [1,4,16], stacked."""
    scheduler = unipc(steps, FLOW_SHIFT)
    x, states = start, []
    for timestep, velocity in zip(scheduler.timesteps, velocities):
        x = scheduler.step(velocity + 0.3 * x, timestep, x).prev_sample
        states.append(x)
    golden.output(f"unipc_{steps}", stack(states))
    sigmas = euler_sigmas(steps, FLOW_SHIFT)
    x, states = start, []
    for i, velocity in enumerate(velocities[:steps]):
        x = x + (velocity + 0.3 * x) * float(sigmas[i + 1] - sigmas[i])
        states.append(x)
    golden.output(f"euler_{steps}", stack(states))
    return {"timesteps": scheduler.timesteps.tolist(), "sigmas": [float(s) for s in scheduler.sigmas],
            "euler_sigmas": [float(s) for s in sigmas], "euler_timesteps": [1000.0 * float(s) for s in sigmas[:-1]]}


def stack(states):
    return torch.cat(states)
