"""Prompts: cleaning, SentencePiece, and UMT5 on one unpadded prompt."""

import html
import re

import ftfy
import torch


def encode(encoder, ids):
    """Last hidden state [1,L,d_model] of token ids [L]; nothing is padded, so no mask (E.3)."""
    return encoder(input_ids=torch.tensor([ids])).last_hidden_state


def zero_padded(rows, length):
    """[1,L,D] -> [1,max(L,length),D] with zero rows on the right (D.8)."""
    return torch.nn.functional.pad(rows, (0, 0, 0, max(0, length - rows.shape[1])))


def clean(prompt):
    """E.5."""
    prompt = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", prompt).strip()


def tokens(tokenizer, prompt):
    """Plain SentencePiece, 511 pieces and </s> (E.3, K.3)."""
    return tokenizer.encode(prompt)[:511] + [1]
