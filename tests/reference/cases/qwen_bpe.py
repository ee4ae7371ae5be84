"""A tiny byte-level BPE in the layout of Qwen2.5's `mllm/` folder, trained here once, and its ids of awkward strings."""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from cases.qwen_tokens import STRINGS
from cases.tokens import CORPUS
from golden import GOLDENS, Golden

FOLDER = GOLDENS / "tokenizer_qwen"
MERGES = 230
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
           "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
PLAIN = ["<tool_call>", "</tool_call>"]


def load():
    """The tiny tokenizer, trained if missing."""
    if not (FOLDER / "tokenizer.json").exists():
        train()
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def train():
    """Writes vocab.json, merges.txt, tokenizer.json and tokenizer_config.json; special tokens take the highest ids, as in Qwen2.5."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=256 + MERGES, min_frequency=1, show_progress=False, special_tokens=[],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in PLAIN])
    write(tokenizer)


def write(tokenizer):
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = tokenizer.to_str(pretty=False)
    model = json.loads(text)["model"]
    (FOLDER / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    (FOLDER / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    merges = ["#version: 0.2"] + [" ".join(pair) for pair in model["merges"]]
    (FOLDER / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    config = {"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
              "unk_token": None, "bos_token": None, "split_special_tokens": False, "model_max_length": 131072}
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def make():
    tokenizer = load()
    golden = Golden("qwen_bpe")
    golden.fields = {"vocab_size": tokenizer.get_vocab_size(), "special": {token: tokenizer.token_to_id(token) for token in SPECIAL}}
    golden.fields["strings"] = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in STRINGS[::2]]
    golden.save()
