"""Guidance of the full pipeline on random velocities, with weights that collapse terms."""

import numpy as np

from golden import Golden
from plain.guidance_full import FORWARDS, combine

SHAPE = [16, 2, 4, 6]
SIGMA = 0.8213
OMEGA = {"vid": 1.75, "img": 4.0, "txt": 5.5, "tgt": 1.5}


def make():
    golden = Golden("guidance_full")
    names = sorted({name for forwards in FORWARDS.values() for name in forwards})
    # The velocities share a part, as those of a model do.
    shared = golden.input("shared", SHAPE).numpy()
    e = {name: (shared + golden.input(f"e_{name}", SHAPE, 0.0, 0.4).numpy()).astype(np.float32) for name in names}
    # Without sources the forwards of "0" and "VI" coincide.
    bare = {name: e["0." + name.split(".")[1]] if name == "VI.wotxt_wovit" else e[name] for name in names}
    x = golden.input("x", SHAPE, 0.0, 3.0).numpy()
    golden.fields = {"sigma": SIGMA, "velocity": "e[name] = f32(shared + e_name); bare runs use e[0.wotxt_wovit] for VI.wotxt_wovit",
                     "forwards": FORWARDS, "runs": []}
    for mode in ("vae_txt_vit_wapg", "vae_txt_vit"):
        run(golden, e, x, mode, "")
        run(golden, bare, x, mode, "_bare")
        for collapsed in (["img"], ["txt"], ["img", "txt"]):
            run(golden, e, x, mode, "_no_" + "_".join(collapsed), {name: -0.5 for name in collapsed})
        run(golden, e, x, mode, "_no_tgt", {"tgt": 0.0})
    run(golden, e, x, "rv2v_wapg", "")
    for collapsed in (["vid"], ["img"], ["txt"], ["tgt"], ["vid", "img"], ["img", "txt", "tgt"], ["vid", "img", "txt", "tgt"]):
        run(golden, e, x, "rv2v_wapg", "_no_" + "_".join(collapsed), {name: -0.5 if index else 0.0 for index, name in enumerate(collapsed)})
    run(golden, e, x, "v2v_apg", "")
    run(golden, {name: 0.02 * velocity for name, velocity in e.items()}, x, "v2v_apg", "_small")
    golden.fields["runs"][-1]["velocity_scale"] = 0.02
    golden.save()


def run(golden, e, x, mode, suffix, changed=None):
    """One setting; output [16,T,h,w] in the latent layout, kept as every third row of h to stay small."""
    omega = OMEGA | (changed or {})
    found = combine(mode, e, x, SIGMA, omega)
    golden.output(mode + suffix, found.astype(np.float32)[:, :, ::3])
    golden.fields["runs"].append({"name": mode + suffix, "mode": mode, "omega": omega, "bare": suffix == "_bare"})
