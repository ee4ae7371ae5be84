"""The two small networks behind the language model (D.8)."""

from torch import nn


class Connector(nn.Module):
    """proj_gen: hidden rows to context rows of the renderer; pred_vit: hidden rows to conditions of the flow head."""

    def __init__(self, hidden, out_dim_for_gen, out_dim_for_vit):
        super().__init__()
        self.proj_gen = nn.Sequential(nn.Linear(hidden, out_dim_for_gen), nn.GELU(), nn.RMSNorm(out_dim_for_gen, eps=1e-6),
                                      nn.Linear(out_dim_for_gen, out_dim_for_gen))
        self.pred_vit = nn.Sequential(nn.Linear(hidden, out_dim_for_vit), nn.GELU(), nn.Linear(out_dim_for_vit, out_dim_for_vit),
                                      nn.RMSNorm(out_dim_for_vit, eps=1e-6), nn.Linear(out_dim_for_vit, out_dim_for_vit))
