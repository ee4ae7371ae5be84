"""Random-looking values that Rust and Python compute bit for bit alike.

Element i of the tensor called `name` is a sum of four 16-bit uniforms (about normal, standard deviation 37837)
taken from splitmix64 at counter i, seeded with FNV-1a of the name; scaled in f64, rounded once to f32.
"""

import numpy as np

U64 = np.uint64
GOLDEN_GAMMA = U64(0x9E3779B97F4A7C15)


def fnv1a(text):
    """FNV-1a 64 of the UTF-8 bytes of `text`."""
    state = 0xCBF29CE484222325
    for byte in text.encode("utf-8"):
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def splitmix64(state):
    """The finaliser of splitmix64, elementwise on uint64."""
    state = (state ^ (state >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> U64(27))) * U64(0x94D049BB133111EB)
    return state ^ (state >> U64(31))


def values(name, shape, mean=0.0, std=1.0):
    """f32 array of `shape` (C order)."""
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        bits = splitmix64(U64(fnv1a(name)) + np.arange(1, count + 1, dtype=U64) * GOLDEN_GAMMA)
    total = sum(((bits >> U64(shift)) & U64(0xFFFF)).astype(np.int64) for shift in (0, 16, 32, 48)) - 131070
    return (mean + std * (total.astype(np.float64) / 37837.0)).astype(np.float32).reshape(shape)


def u8_values(name, shape, mean=128.0, std=40.0):
    """uint8 array: `values` rounded half to even and clipped to 0..255."""
    return np.clip(np.rint(values(name, shape, mean, std)), 0, 255).astype(np.uint8)
