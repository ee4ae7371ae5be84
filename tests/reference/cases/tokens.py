"""SentencePiece ids of awkward prompts with a tiny byte-fallback model, trained here once."""

import io

import sentencepiece

from golden import GOLDENS, Golden
from plain.text import tokens

MODEL = GOLDENS / "tokenizer" / "spiece.model"
CORPUS = """A cat walks slowly across the snowy street while the camera follows it.
Replace the red car with a blue bicycle, keep everything else unchanged.
Turn the video into a watercolor painting of a quiet village by the sea.
The woman in the first image wears the hat from the second image and smiles.
Remove the person on the left and fill in the background, natural light, high quality.
A drone shot over green mountains at sunset, cinematic, detailed, soft clouds.
Un café très élégant près de la rivière, où les enfants jouent.
Ein schöner Hund läuft über die große Wiese.
一只猫在雪地里慢慢地走。镜头跟随着它。
把红色的汽车换成蓝色的自行车,其他不变。
色调艳丽,过曝,静态,细节模糊不清,字幕,风格,作品,画面,静止,整体发灰,最差质量,低质量。
You are a helpful assistant. You are a helpful assistant specialized in video editing.
""".splitlines()
PROMPTS = ["A cat walks slowly across the snowy street.", "把红色的汽车换成蓝色的自行车,其他不变。", "一只猫 walks 在雪地里", "😀 cat 👩‍👩‍👧 🇫🇷",
           "Un café très élégant — déjà vu", "cafe\u0301 re\u0301sume\u0301", "the </s> token and <pad> and <unk> are text", "tab\there\tand\nnewline",
           "   leading and trailing   ", "two  spaces   three", "", " ", "\u200b", "ＦＵＬＬ　ＷＩＤＴＨ１２３", "①②③ ㍿ ﬁre ﬂow", "Ωμέγα привет мир שלום",
           "<0x41> literal byte piece", "▁underline▁meta", "x" * 70, "\u00a0nbsp\u00a0\u3000ideographic", "zero\u200bwidth\u200djoin\ufeff",
           "日本語のテスト、カタカナ ｶﾀｶﾅ", "a\u0000b", "<extra_id_0> </s></s>", "100% 50€ $3.14 #tag @you", "1234567890 12:30",
           "ﷺ ½ ² ℃ ™", " ".join(["A quiet village by the sea"] * 100)]


def load():
    """The tiny tokenizer, trained if missing."""
    if not MODEL.exists():
        train()
    return sentencepiece.SentencePieceProcessor(model_file=str(MODEL))


def train():
    """Unigram with byte fallback, ids as in UMT5: 0 <pad>, 1 </s>, 2 <unk>."""
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3), model_writer=written, vocab_size=450, model_type="unigram", byte_fallback=True,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=0.995, hard_vocab_limit=False, num_threads=1)
    MODEL.write_bytes(written.getvalue())


def make():
    tokenizer = load()
    golden = Golden("tokens")
    golden.fields["vocab_size"] = tokenizer.get_piece_size()
    golden.fields["prompts"] = [{"text": prompt, "ids": tokens(tokenizer, prompt)} for prompt in PROMPTS]
    golden.save()
    longest = golden.fields["prompts"][-1]["ids"]
    assert len(longest) == 512 and longest[-1] == 1
