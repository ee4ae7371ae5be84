"""The value rule itself: a vector to copy into the other language."""

from golden import Golden
from values import fnv1a, u8_values, values

NAME = "blocks.0.attn1.to_q.weight"


def make():
    golden = Golden("values")
    first = values(NAME, (4,), 0.0, 0.02)
    golden.fields = {
        "name": NAME,
        "mean": 0.0,
        "std": 0.02,
        "fnv1a": f"{fnv1a(NAME):#018x}",
        "first": [float(value) for value in first],
        "first_bits": [f"{bits:#010x}" for bits in first.view("uint32")],
        "accented": {"name": "größe/尺寸", "mean": 1.0, "std": 0.2, "first": [float(v) for v in values("größe/尺寸", (5,), 1.0, 0.2)]},
        "u8": {"name": "input:frames", "mean": 128.0, "std": 40.0, "first": u8_values("input:frames", (8,)).tolist()},
    }
    golden.save()
