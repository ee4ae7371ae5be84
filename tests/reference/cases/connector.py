"""proj_gen and pred_vit."""

import numpy as np

from golden import Golden
from plain.connector import Connector


def weight_rule(name, shape):
    if name.endswith("bias"):
        return 0.0, 0.1
    if len(shape) == 1:
        return 1.0, 0.2
    return 0.0, float(np.float32(1.0 / np.sqrt(shape[1])))


def build(golden, hidden, settings, prefix=""):
    """A tiny connector whose weights are in the golden's manifest."""
    return golden.weights(Connector(hidden, **settings), weight_rule, prefix)


def make():
    golden = Golden("connector")
    settings = {"out_dim_for_gen": 52, "out_dim_for_vit": 44}
    golden.fields = {"hidden_size": 36, "connector_cfg": settings}
    connector = build(golden, 36, settings)
    # A wide spread: the tails of GELU and large norms.
    rows = golden.input("hidden", [1, 13, 36], 0.0, 3.0)
    golden.output("proj_gen", connector.proj_gen(rows))
    golden.output("pred_vit", connector.pred_vit(rows[0]))
    golden.save()
