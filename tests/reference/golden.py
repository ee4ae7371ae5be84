"""Writes one golden: `<case>.json` (what to rebuild) and `<case>.safetensors` (what must come out)."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from values import u8_values, values

GOLDENS = Path(__file__).resolve().parent.parent / "goldens"
PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "sentencepiece", "ftfy", "pillow", "numpy")


class Golden:
    """Collects weights, inputs and outputs of one case; `save` writes the two files."""

    def __init__(self, case):
        self.case = case
        self.fields = {}
        self.tensors = {}
        self.inputs = {}
        self.outputs = {}

    def weights(self, module, std_rule, prefix="", same_as=None):
        """Fills `module` in place: each state_dict tensor gets values named `prefix + its name`.

        `std_rule(name, shape)` returns (mean, std). `same_as` maps a tied name to the name it copies.
        """
        state = {}
        for name, old in module.state_dict().items():
            source = (same_as or {}).get(name)
            if source is not None:
                self.tensors[prefix + name] = {"same_as": prefix + source}
                state[name] = state[source]
                continue
            mean, std = std_rule(name, tuple(old.shape))
            self.tensors[prefix + name] = {"shape": list(old.shape), "mean": mean, "std": std}
            state[name] = torch.from_numpy(values(prefix + name, tuple(old.shape), mean, std))
        module.load_state_dict(state, strict=True)
        return module.float().eval()

    def input(self, name, shape, mean=0.0, std=1.0):
        """f32 tensor of the value rule, named `input:<name>`."""
        self.inputs[name] = {"shape": list(shape), "mean": mean, "std": std}
        return torch.from_numpy(values("input:" + name, tuple(shape), mean, std))

    def input_u8(self, name, shape, mean=128.0, std=40.0):
        """uint8 array of the value rule, named `input:<name>`."""
        self.inputs[name] = {"shape": list(shape), "mean": mean, "std": std, "dtype": "u8"}
        return u8_values("input:" + name, tuple(shape), mean, std)

    def input_values(self, name, numbers):
        """Integers or scalars given literally."""
        self.inputs[name] = {"values": numbers}
        return numbers

    def output(self, name, tensor):
        """An expected result; f32 or uint8."""
        array = np.ascontiguousarray(tensor.numpy() if isinstance(tensor, torch.Tensor) else tensor)
        assert array.dtype in (np.float32, np.uint8), (name, array.dtype)
        if array.dtype == np.float32:
            assert np.isfinite(array).all(), name
        self.outputs[name] = array

    def save(self):
        """Writes the json, and the safetensors if there are outputs."""
        GOLDENS.mkdir(exist_ok=True)
        versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
        document = {"versions": versions} | self.fields
        document |= {key: part for key, part in (("tensors", self.tensors), ("inputs", self.inputs)) if part}
        (GOLDENS / f"{self.case}.json").write_text(dumps(document) + "\n", encoding="utf-8")
        if self.outputs:
            save_file(self.outputs, GOLDENS / f"{self.case}.safetensors")
        for name, array in self.outputs.items():
            if array.dtype == np.float32:
                print(f"  {name:44} {str(list(array.shape)):20} rms {np.sqrt(np.mean(array.astype(np.float64) ** 2)):.3f}")


def dumps(document):
    """JSON with one line per entry of each top-level container."""
    lines = []
    for key, part in document.items():
        if isinstance(part, dict):
            body = [f"    {text(name)}: {text(entry)}" for name, entry in part.items()]
            lines.append(f"  {text(key)}: {{\n" + ",\n".join(body) + "\n  }")
        elif isinstance(part, list) and part and isinstance(part[0], (dict, list, str)):
            lines.append(f"  {text(key)}: [\n" + ",\n".join("    " + text(entry) for entry in part) + "\n  ]")
        else:
            lines.append(f"  {text(key)}: {text(part)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def text(part):
    """One-line JSON; control characters and separators such as U+2028 escaped, letters readable."""
    return json.dumps(part, ensure_ascii=True, allow_nan=False)


def relative_l2(found, expected):
    """|found - expected| / |expected|, in f64."""
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    return ((found - expected).norm() / expected.norm()).item()
