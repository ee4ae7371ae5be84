"""The two flow schedulers: diffusers' UniPC with Wan's settings (A.7), and plain Euler (G.2)."""

import numpy as np
from diffusers import UniPCMultistepScheduler

CONFIG = {"num_train_timesteps": 1000, "prediction_type": "flow_prediction", "use_flow_sigmas": True, "solver_order": 2,
          "solver_type": "bh2", "predict_x0": True, "lower_order_final": True, "thresholding": False,
          "final_sigmas_type": "zero", "disable_corrector": []}


def unipc(steps, flow_shift):
    """A UniPC scheduler ready for `steps` steps."""
    scheduler = UniPCMultistepScheduler(**CONFIG, flow_shift=flow_shift)
    scheduler.set_timesteps(steps, device="cpu")
    return scheduler


def euler_sigmas(steps, flow_shift):
    """steps+1 noise levels: linspace(1, 0, M+1)[:-1] shifted, then 0; f64 rounded to f32 (K.10)."""
    plain = np.linspace(1.0, 0.0, steps + 1)[:-1]
    shifted = flow_shift * plain / (1.0 + (flow_shift - 1.0) * plain)
    return np.append(shifted, 0.0).astype(np.float32)
