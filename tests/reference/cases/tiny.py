"""The tiny full checkpoint that `planner` and `full` share: tensor names are `<folder>.<name in that folder's files>`."""

from dataclasses import dataclass

import torch

from cases import connector, dit, flow_head, planner_lm, qwen_bpe, tokens, umt5, vae, vision
from golden import Golden
from plain.planner import Planner
from plain.scheduler import CONFIG
from values import values

TEXT_DIM, HIDDEN, VOCABULARY = 20, 48, 510
MASK_TOKENS = 5


@dataclass
class Parts:
    """Everything that is loaded from the checkpoint."""

    planner: Planner
    tokenizer: object
    text_encoder: torch.nn.Module
    transformer: torch.nn.Module
    transformer_2: torch.nn.Module
    vae: torch.nn.Module


def configs():
    """Configuration files by path; every model of the release is there, at awkward small sizes."""
    tokenizer = qwen_bpe.load()
    ids = {f"{name}_token_id": tokenizer.token_to_id(f"<|{token}|>") for name, token in
           {"vision_start": "vision_start", "vision_end": "vision_end", "image": "image_pad", "video": "video_pad"}.items()}
    language = planner_lm.config(6, 2, 8, [1, 1, 2], 68, 3, VOCABULARY)
    tower = vision.config(24, 2, 52, 3, [1], HIDDEN)
    expert = dit.config(3, 20, 76, 2, TEXT_DIM)
    return {
        "config.json": {"model_type": "bernini", "architectures": ["BerniniModel"], "scratch": True, "scratch_mllm": True, "cotrain": True,
                        "flow_shift": 5, "shift": 3.0, "target_fps": 16, "switch_dit_boundary": 0.875, "num_mask_token": MASK_TOKENS,
                        "clip_diff_cfg": flow_head.config(HIDDEN, 60, 2) | {"diff_net": "SimpleMLPAdaLN", "scheduler": "FlowMatchScheduler", "shift": 2.0,
                                                                          "extra_one_step": True, "num_inference_steps": 100},
                        "connector_cfg": {"out_dim_for_gen": TEXT_DIM, "out_dim_for_vit": HIDDEN, "gen_head_type": "zerolinear"},
                        "feature_type_from_stage_one": "masked_tgt_embed_with_qwen_txt_vit_tokens", "use_src_id_rotary_emb": True,
                        "interpolate_src_id": True, "max_trained_src_id": 5, "max_sequence_length": 512, "t5_max_sequence_length": 512},
        "transformer_config.json": expert, "transformer_2_config.json": expert,
        "mllm/config.json": {"model_type": "qwen2_5_vl"} | language | ids | {"vision_config": tower},
        "mllm/preprocessor_config.json": {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14,
                                          "temporal_patch_size": 2, "merge_size": 2},
        "t5_text_encoder/config.json": umt5.config(TEXT_DIM, 2, 3, 8, 44, 461), "vae/config.json": vae.config(6, 16),
        "scheduler/scheduler_config.json": CONFIG | {"flow_shift": 3.0},
    }


def build(golden):
    """Loads every part; the manifest goes into `golden`."""
    files = configs()
    golden.fields["configs"] = files
    golden.fields["tokenizers"] = {"mllm": "tokenizer_qwen", "t5_tokenizer": "tokenizer"}
    overall, language = files["config.json"], files["mllm/config.json"]
    head = {name: overall["clip_diff_cfg"][name] for name in ("z_channels", "target_channels", "width", "depth")}
    joint = {name: overall["connector_cfg"][name] for name in ("out_dim_for_gen", "out_dim_for_vit")}
    lm = {name: number for name, number in language.items() if name not in ("model_type", "vision_config") and not name.endswith("token_id")}
    unused(golden, "bernini.mllm.lm_head.weight", [VOCABULARY, HIDDEN])
    planner = Planner(qwen_bpe.load(), planner_lm.build(golden, lm, "bernini.mllm.model."), vision.build(golden, language["vision_config"], "bernini.mllm.visual."),
                      connector.build(golden, HIDDEN, joint, "bernini.connector."), flow_head.build(golden, head, "bernini.vit_decoder.net."),
                      torch.from_numpy(unused(golden, "bernini.mask_tokens", [1, MASK_TOKENS, HIDDEN], 0.7))[0, 0])
    return Parts(planner, tokens.load(), umt5.build(golden, files["t5_text_encoder/config.json"], "bernini.t5_text_encoder."),
                 dit.build(golden, files["transformer_config.json"], "bernini.diff_dec.transformer."),
                 dit.build(golden, files["transformer_2_config.json"], "bernini.diff_dec_low.transformer_2."),
                 vae.build(golden, files["vae/config.json"], "vae."))


def unused(golden, name, shape, std=0.02):
    """A tensor that no module above holds."""
    golden.tensors[name] = {"shape": shape, "mean": 0.0, "std": std}
    return values(name, tuple(shape), 0.0, std)


def make():
    golden = Golden("tiny")
    build(golden)
    golden.save()
