"""Rewrites the goldens: `python make.py [case ...]`, all cases without arguments."""

import importlib
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch

CASES = sorted(path.stem for path in (Path(__file__).parent / "cases").glob("[a-z]*.py"))


def main(names):
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        sys.exit(f"unknown case {unknown}; known: {CASES}")
    for name in names or CASES:
        start = time.time()
        print(name)
        importlib.import_module("cases." + name).make()
        print(f"  {time.time() - start:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
