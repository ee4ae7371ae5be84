"""The flow-matching head that draws ViT features (D.9)."""

import torch
from torch import nn

FREQUENCIES = 256
SIGMA_MIN = 0.003 / 1.002


class TimeEmbed(nn.Module):
    """Sinusoid of t, [cos, sin], then two linears."""

    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t):
        return self.mlp(sinusoid(t))


class ResBlock(nn.Module):
    """One modulated two-layer block with a gate."""

    def __init__(self, width):
        super().__init__()
        self.in_ln = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(self, x, y):
        shift, scale, gate = self.adaLN_modulation(y).chunk(3, dim=-1)
        return x + gate * self.mlp(self.in_ln(x) * (1 + scale) + shift)


class FinalLayer(nn.Module):
    """Modulated norm without weights, then the output linear."""

    def __init__(self, width, channels):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x, y):
        shift, scale = self.adaLN_modulation(y).chunk(2, dim=-1)
        return self.linear(self.norm(x) * (1 + scale) + shift)


class FlowHead(nn.Module):
    """Velocity f(x [n,target], t, c [n,z]) -> [n,target]."""

    def __init__(self, z_channels, target_channels, width, depth):
        super().__init__()
        self.time_embed = TimeEmbed(width)
        self.cond_embed = nn.Linear(z_channels, width)
        self.input_proj = nn.Linear(target_channels, width)
        self.res_blocks = nn.ModuleList([ResBlock(width) for _ in range(depth)])
        self.final_layer = FinalLayer(width, target_channels)

    def forward(self, x, t, c):
        y = self.time_embed(t) + self.cond_embed(c)
        x = self.input_proj(x)
        for block in self.res_blocks:
            x = block(x, y)
        return self.final_layer(x, y)


def sinusoid(t):
    """[1,256] f32 of a scalar t rounded to bf16 (K.1); angles in f64."""
    t = torch.tensor(t, dtype=torch.float32).bfloat16().double()
    angles = t * 10000.0 ** (-torch.arange(FREQUENCIES // 2, dtype=torch.float64) / (FREQUENCIES // 2))
    return torch.cat([angles.cos(), angles.sin()]).float()[None]


def sigmas(steps):
    """steps+1 noise levels, f64, shift 2, the last 0."""
    plain = [1.0 - (1.0 - SIGMA_MIN) * i / steps for i in range(steps)]
    return [2.0 * sigma / (1.0 + sigma) for sigma in plain] + [0.0]


def sample(head, noise, cond, uncond, imgcond, steps, txt_cfg, img_cfg):
    """Features [n,target] from noise [n,target]; the three conditions share noise and state. img_cfg may be None."""
    x, levels = noise, sigmas(steps)
    for sigma, lower in zip(levels, levels[1:]):
        velocity = guided(lambda c: head(x, 1000.0 * sigma, c), cond, uncond, imgcond, txt_cfg, img_cfg)
        x = x + velocity * (lower - sigma)
    return x


def guided(f, cond, uncond, imgcond, txt_cfg, img_cfg):
    """Guided velocity of D.9 and K.1."""
    if txt_cfg <= 1:
        return f(cond)
    if img_cfg is None:
        return f(uncond) + txt_cfg * (f(cond) - f(uncond))
    return f(uncond) + img_cfg * (f(imgcond) - f(uncond)) + txt_cfg * (f(cond) - f(imgcond))
