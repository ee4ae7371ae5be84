"""How far PyTorch's own bf16 is from f32 on a synthetic checkpoint: the yardstick for bf16 engines.

    python3 bench/torch_bf16_error.py CKPT errors.json [transformer text_encoder …]

CKPT is a package of `bernini synth --preset slim` or full. Every submodule runs twice on the same
inputs of mean 0 and variance 1, in f32 (no TF32) and in bf16, at the sizes of a 240x192 clip of nine
frames; what is kept in f32 by diffusers' from_pretrained is kept here. Reported is |bf16 - f32| / |f32|
in L2. diffusers 0.35.2; `bernini verify` measures the same of engines.
"""

import json
import sys
import traceback
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOKENS = (3, 12, 15)
CONTEXT, TEXT, PREFIX, TARGET = 512, 512, 128, 64
REVEALED = 12


class Checkpoint:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.files = {}
        for path in [*self.folder.glob("bernini/*.safetensors"), *self.folder.glob("vae/*.safetensors")]:
            with safe_open(path, "pt") as file:
                self.files |= {("vae." if path.parent.name == "vae" else "") + name: path for name in file.keys()}

    def config(self, path):
        return json.loads((self.folder / path).read_text())

    def tensors(self, prefix, containing=""):
        """Tensors below `prefix`, f32, by the rest of their names."""
        found = {}
        for name, path in self.files.items():
            if name.startswith(prefix) and containing in name:
                with safe_open(path, "pt", device=DEVICE) as file:
                    found[name[len(prefix) :]] = file.get_tensor(name.removeprefix("vae.") if prefix == "vae." else name).float()
        return found


def randn(*shape):
    """Values that bf16 holds exactly."""
    return torch.randn(*shape, device=DEVICE).bfloat16().float()


def to_bf16(model):
    """As from_pretrained(torch_dtype=bfloat16) leaves it."""
    kept = getattr(model, "_keep_in_fp32_modules", None) or []
    for name, parameter in model.named_parameters():
        if not any(part in name.split(".") for part in kept):
            parameter.data = parameter.data.bfloat16()
    return model


def cast(inputs, dtype):
    return [x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]


def transformer(checkpoint):
    from diffusers import WanTransformer3DModel

    config = {key: value for key, value in checkpoint.config("transformer_config.json").items() if key[0] != "_"}
    # 40 layers in f32 leave no room for another copy.
    with torch.device("meta"):
        model = WanTransformer3DModel(**config).eval()
    model.load_state_dict(checkpoint.tensors("diff_dec.transformer."), assign=True)
    model.rope = type(model.rope)(*(config[key] for key in ("attention_head_dim", "patch_size", "rope_max_seq_len"))).to(DEVICE)
    frames, height, width = TOKENS
    latents = randn(1, config["in_channels"], frames, 2 * height, 2 * width)
    inputs = [latents, torch.tensor([500.0], device=DEVICE), randn(1, CONTEXT, config["text_dim"])]

    def forward(dtype):
        moved = [cast(inputs[:1], dtype)[0], inputs[1], cast(inputs[2:], dtype)[0]]
        return model(*moved, return_dict=False)[0]

    exact = forward(torch.float32)
    to_bf16(model)
    return exact, forward(torch.bfloat16)


def transformer_context(checkpoint):
    """Keys and values of every block's cross attention, of an embedded context, in plain torch."""
    config = checkpoint.config("transformer_config.json")
    text = checkpoint.tensors("diff_dec.transformer.condition_embedder.text_embedder.")
    tensors = checkpoint.tensors("diff_dec.transformer.blocks.", ".attn2.")

    def forward(x):
        def linear(weights, name, y):
            return F.linear(y, weights[f"{name}.weight"].to(y.dtype), weights[f"{name}.bias"].to(y.dtype))

        x = linear(text, "linear_2", F.gelu(linear(text, "linear_1", x), approximate="tanh"))
        found = []
        for layer in range(config["num_layers"]):
            w = {name.split(".attn2.")[1]: t for name, t in tensors.items() if name.startswith(f"{layer}.attn2.")}
            k = linear(w, "to_k", x)
            found += [F.rms_norm(k, k.shape[-1:], w["norm_k.weight"].to(k.dtype), config["eps"]), linear(w, "to_v", x)]
        return torch.stack(found)

    context = randn(1, CONTEXT, config["text_dim"])
    return forward(context), forward(context.bfloat16())


def text_encoder(checkpoint):
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(**checkpoint.config("t5_text_encoder/config.json"))
    config.dtype = torch.float32
    with torch.device(DEVICE):
        model = UMT5EncoderModel(config).float().eval()
    missing, _ = model.load_state_dict(checkpoint.tensors("t5_text_encoder."), strict=False)
    assert not [name for name in missing if "embed" not in name], missing
    embeds, mask = randn(1, TEXT, config.d_model), torch.ones(1, TEXT, device=DEVICE, dtype=torch.long)
    exact = model(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    to_bf16(model)
    return exact, model(inputs_embeds=embeds.bfloat16(), attention_mask=mask).last_hidden_state


def planner_lm(checkpoint):
    """The layers of Qwen2.5-VL's language model in plain torch: a causal prefix."""
    config = checkpoint.config("mllm/config.json")
    heads, groups, width = config["num_attention_heads"], config["num_key_value_heads"], config["hidden_size"]
    tensors = checkpoint.tensors("mllm.model.layers.")
    half = width // heads // 2
    angles = torch.arange(PREFIX, device=DEVICE)[:, None] * config["rope_theta"] ** (-torch.arange(half, device=DEVICE) / half)
    cos, sin = (torch.cat([f(angles), f(angles)], -1) for f in (torch.cos, torch.sin))

    def rotate(x):
        a, b = x.chunk(2, -1)
        return x * cos.to(x.dtype) + torch.cat([-b, a], -1) * sin.to(x.dtype)

    def norm(x, weight):
        y = x.float()
        return weight.to(x.dtype) * (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + config["rms_norm_eps"])).to(x.dtype)

    def forward(x):
        for layer in range(config["num_hidden_layers"] - 1):
            w = {name.split(".", 1)[1]: t.to(x.dtype) for name, t in tensors.items() if name.startswith(f"{layer}.")}

            def linear(name, y):
                return F.linear(y, w[f"{name}.weight"], w.get(f"{name}.bias"))

            y = norm(x, w["input_layernorm.weight"])
            q, k, v = (
                linear(f"self_attn.{name}_proj", y).view(1, PREFIX, count, -1).transpose(1, 2)
                for name, count in (("q", heads), ("k", groups), ("v", groups))
            )
            y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True, enable_gqa=True)
            x = x + linear("self_attn.o_proj", y.transpose(1, 2).reshape(1, PREFIX, width))
            y = norm(x, w["post_attention_layernorm.weight"])
            x = x + linear("mlp.down_proj", F.silu(linear("mlp.gate_proj", y)) * linear("mlp.up_proj", y))
        return x

    embeds = randn(1, PREFIX, width)
    return forward(embeds), forward(embeds.bfloat16())


def vision(checkpoint):
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

    config = Qwen2_5_VLVisionConfig(**checkpoint.config("mllm/config.json")["vision_config"])
    with torch.device(DEVICE):
        model = Qwen2_5_VisionTransformerPretrainedModel._from_config(config).float().eval()
    model.load_state_dict(checkpoint.tensors("mllm.visual."))
    grid = torch.tensor([[1, 12, 14]], device=DEVICE)
    patches = randn(168, 1176)

    def features(x):
        found = model(x, grid_thw=grid)
        return found if torch.is_tensor(found) else found.pooler_output

    exact = features(patches)
    model.bfloat16()
    return exact, features(patches.bfloat16())


def reference(name, *arguments):
    """A module of tests/reference/plain."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/reference"))
    module = __import__(f"plain.{name}", fromlist=["x"])
    return getattr(module, {"flow_head": "FlowHead", "connector": "Connector"}[name])(*arguments).to(DEVICE).eval()


def flow_head_modulation(checkpoint):
    """Shift, scale and gate of every block, at five times."""
    model, config = flow_head_model(checkpoint)
    times, cond = randn(5, 1, 256), randn(REVEALED, config["z_channels"])

    def forward(times, cond):
        y = model.time_embed.mlp(times) + model.cond_embed(cond)
        return torch.cat([layer.adaLN_modulation(y) for layer in [*model.res_blocks, model.final_layer]], -1)

    exact = forward(times, cond)
    model.bfloat16()
    return exact, forward(*cast([times, cond], torch.bfloat16))


def flow_head(checkpoint):
    """Velocity, given the modulation."""
    model, config = flow_head_model(checkpoint)
    x, modulation = randn(REVEALED, config["target_channels"]), randn(REVEALED, (3 * config["depth"] + 2) * config["width"])

    def forward(x, modulation):
        parts = iter(modulation.chunk(3 * config["depth"] + 2, -1))
        x = model.input_proj(x)
        for block in model.res_blocks:
            shift, scale, gate = (next(parts) for _ in range(3))
            x = x + gate * block.mlp(block.in_ln(x) * (1 + scale) + shift)
        shift, scale = parts
        return model.final_layer.linear(model.final_layer.norm(x) * (1 + scale) + shift)

    exact = forward(x, modulation)
    model.bfloat16()
    return exact, forward(*cast([x, modulation], torch.bfloat16))


def flow_head_model(checkpoint):
    config = checkpoint.config("config.json")["clip_diff_cfg"]
    model = reference("flow_head", *(config[key] for key in ("z_channels", "target_channels", "width", "depth")))
    model.load_state_dict(checkpoint.tensors("vit_decoder.net."))
    return model, config


def connector(part):
    def run(checkpoint):
        config = checkpoint.config("config.json")["connector_cfg"]
        hidden = checkpoint.config("mllm/config.json")["hidden_size"]
        model = reference("connector", hidden, config["out_dim_for_gen"], config["out_dim_for_vit"])
        model.load_state_dict(checkpoint.tensors("connector."))
        x = randn(PREFIX, hidden)
        exact = getattr(model, part)(x)
        model.bfloat16()
        return exact, getattr(model, part)(x.bfloat16())

    return run


def vae(half):
    def run(checkpoint):
        from diffusers import AutoencoderKLWan

        config = {key: value for key, value in checkpoint.config("vae/config.json").items() if key[0] != "_"}
        model = AutoencoderKLWan(**config).to(DEVICE).eval()
        model.load_state_dict(checkpoint.tensors("vae."))
        frames, height, width = TOKENS
        latents = randn(1, config["z_dim"], frames, 2 * height, 2 * width)
        clip = 2 * torch.rand(1, 3, 4 * frames - 3, 16 * height, 16 * width, device=DEVICE).bfloat16().float() - 1
        x = latents if half == "decoder" else clip

        def forward(x):
            return model.decode(x).sample if half == "decoder" else model.encode(x).latent_dist.mean

        exact = forward(x)
        model.bfloat16()
        return exact, forward(x.bfloat16())

    return run


PARTS = {
    "transformer": transformer,
    "transformer_context": transformer_context,
    "text_encoder": text_encoder,
    "planner_lm": planner_lm,
    "vision": vision,
    "flow_head_modulation": flow_head_modulation,
    "flow_head": flow_head,
    "pred_vit": connector("pred_vit"),
    "proj_gen": connector("proj_gen"),
    "vae_encoder": vae("encoder"),
    "vae_decoder": vae("decoder"),
}


@torch.no_grad()
def main(folder, output, *only):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    checkpoint, errors = Checkpoint(folder), {}
    for name, part in PARTS.items():
        if only and name not in only:
            continue
        torch.manual_seed(0)
        try:
            exact, short = (x.double() for x in part(checkpoint))
            errors[name] = ((short - exact).norm() / exact.norm()).item()
            print(f"{name:20} {errors[name]:.3e}", flush=True)
        except Exception:
            traceback.print_exc()
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
    versions = f"torch {torch.__version__}, {torch.cuda.get_device_name() if DEVICE == 'cuda' else 'cpu'}"
    Path(output).write_text(json.dumps({"versions": versions, "rel_l2": errors}, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
