"""What PyTorch does on this GPU with random weights of the released sizes: the peers of `bernini bench`.

    python3 bench/peer_torch.py peers.json [transformer transformer_fp8 vae text_encoder]

diffusers 0.35.2; eager, torch.compile of the repeated blocks, and FP8 linears (torch._scaled_mm,
per-tensor scales, dynamic activation scales) + compile; attention is cuDNN's. Milliseconds are
medians of CUDA events. Names of the work are those of `bernini bench`.
"""

import gc
import json
import sys
import traceback

import torch
from torch import nn
from torch.nn import functional as F

DEVICE, BF16, E4M3 = "cuda", torch.bfloat16, torch.float8_e4m3fn
CONTEXT = 512
CLIP = dict(frames=81, height=480, width=832)

report = {"versions": "", "bf16_tflops": 0.0, "fp8_tflops": 0.0, "milliseconds": {}}


def milliseconds(work, runs=3, warmup=1):
    for _ in range(warmup):
        work()
    torch.cuda.synchronize()
    times = []
    for _ in range(runs):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def record(work, peer, value):
    report["milliseconds"].setdefault(work, {})[peer] = value
    print(f"{work:40} {peer:20} {value:10.2f} ms", flush=True)


def released(make):
    """A model with random bf16 weights, made on the GPU."""
    with torch.device(DEVICE):
        torch.set_default_dtype(BF16)
        try:
            return make().eval()
        finally:
            torch.set_default_dtype(torch.float32)


def free():
    gc.collect()
    torch.cuda.empty_cache()
    torch._dynamo.reset()


class Fp8Linear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        scale = linear.weight.abs().max().float() / 448
        self.register_buffer("weight", (linear.weight.float() / scale).to(E4M3))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias)

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        scale = rows.abs().amax().float().clamp(min=1e-12) / 448
        quantised = (rows.float() / scale).clamp(-448, 448).to(E4M3)
        y = torch._scaled_mm(
            quantised,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.scale,
            bias=self.bias,
            out_dtype=BF16,
            use_fast_accum=True,
        )
        return y.reshape(*x.shape[:-1], -1)


def quantise(module):
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, Fp8Linear(child))
        else:
            quantise(child)


def expert():
    """The expert, and a function that makes a forward of some latent frames of 480p."""
    from diffusers import WanTransformer3DModel

    model = released(
        lambda: WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=40,
            attention_head_dim=128,
            in_channels=16,
            out_channels=16,
            text_dim=4096,
            freq_dim=256,
            ffn_dim=13824,
            num_layers=40,
            cross_attn_norm=True,
            qk_norm="rms_norm_across_heads",
            eps=1e-6,
            rope_max_seq_len=1024,
        )
    )
    model.set_attention_backend("_native_cudnn")
    context = torch.randn(1, CONTEXT, 4096, device=DEVICE, dtype=BF16)
    timestep = torch.tensor([500.0], device=DEVICE)

    def forward(latent_frames):
        latents = torch.randn(1, 16, latent_frames, 60, 104, device=DEVICE, dtype=BF16)
        return lambda: model(latents, timestep, context, return_dict=False)

    return model, forward


def transformer():
    model, forward = expert()
    record("transformer tokens=32760", "bf16 eager", milliseconds(forward(21), runs=2))
    model.compile_repeated_blocks(fullgraph=True)
    record("transformer tokens=32760", "bf16 compile", milliseconds(forward(21)))


def transformer_fp8():
    model, forward = expert()
    for block in model.blocks:
        quantise(block)
    gc.collect()
    model.compile_repeated_blocks(fullgraph=True)
    # Two clips of 480p: as many tokens as a target with its source video.
    for tokens, frames, runs in [(32760, 21, 3), (65520, 42, 2)]:
        record(f"transformer tokens={tokens}", "fp8 compile", milliseconds(forward(frames), runs))


def vae():
    from diffusers import AutoencoderKLWan

    model = released(lambda: AutoencoderKLWan(temperal_downsample=[False, True, True]))
    frames, height, width = CLIP.values()
    latents = torch.randn(
        1, 16, (frames - 1) // 4 + 1, height // 8, width // 8, device=DEVICE, dtype=BF16
    )
    record("vae-decode t2v-480p", "bf16 eager", milliseconds(lambda: model.decode(latents), 2))
    clip = torch.randn(1, 3, frames, height, width, device=DEVICE, dtype=BF16)
    record("vae-encode v2v-480p", "bf16 eager", milliseconds(lambda: model.encode(clip), 2))


def text_encoder():
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(
        d_model=4096,
        d_ff=10240,
        num_heads=64,
        d_kv=64,
        num_layers=24,
        vocab_size=256384,
        feed_forward_proj="gated-gelu",
    )
    model = released(lambda: UMT5EncoderModel(config))
    ids = torch.randint(5, 2000, (1, 512), device=DEVICE)
    mask = torch.ones_like(ids)
    record("text_encoder text_tokens=512", "bf16 eager", milliseconds(lambda: model(ids, mask), 5))


def ceilings():
    n = 8192
    a, b = (torch.randn(n, n, device=DEVICE, dtype=BF16) for _ in range(2))
    report["bf16_tflops"] = 2 * n**3 / milliseconds(lambda: a @ b, 10, 3) / 1e9
    one = torch.ones((), device=DEVICE)
    a, b = a.to(E4M3), b.to(E4M3).t()

    def product():
        torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=BF16, use_fast_accum=True)

    report["fp8_tflops"] = 2 * n**3 / milliseconds(product, 10, 3) / 1e9
    q = torch.randn(1, 40, 32760, 128, device=DEVICE, dtype=BF16)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.CUDNN_ATTENTION):
        attention = milliseconds(lambda: F.scaled_dot_product_attention(q, q, q), 5, 2)
    record("attention tokens=32760", "bf16 cuDNN", attention)


@torch.no_grad()
def main(path, *names):
    import diffusers
    import transformers

    report["versions"] = (
        f"torch {torch.__version__}, diffusers {diffusers.__version__}, "
        f"transformers {transformers.__version__}, {torch.cuda.get_device_name()}"
    )
    parts = {
        "transformer": transformer,
        "transformer_fp8": transformer_fp8,
        "vae": vae,
        "text_encoder": text_encoder,
    }
    for part in [ceilings, *(parts[name] for name in names or parts)]:
        try:
            part()
        except Exception:
            traceback.print_exc()
        free()
        with open(path, "w") as file:
            json.dump(report, file, indent=2)


if __name__ == "__main__":
    main(*sys.argv[1:])
