"""How a model's texts are cut and padded. Shapes: B texts, L tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from model.retrieval import Tokens


@dataclass(frozen=True, kw_only=True)
class TextRules:
    """What the tokenizer file does not say.

    Attributes:
        max_tokens: longest text L, special tokens included.
        pad_token: what shorter texts are filled up with.
        pads_to_max: every text becomes `max_tokens` long, as in the training of SigLIP.
        pads_left: they are filled up in front.
    """

    max_tokens: int
    pad_token: str
    pads_to_max: bool
    pads_left: bool = False

    def __post_init__(self) -> None:
        """Refuse a length that no text has."""
        if self.max_tokens < 1:
            raise ValueError(f"a text of {self.max_tokens} tokens is empty")

    def set_up(self, tokenizer: Tokenizer) -> None:
        """Make a tokenizer follow the rules."""
        tokenizer.enable_truncation(self.max_tokens)
        tokenizer.enable_padding(
            direction="left" if self.pads_left else "right",
            pad_id=tokenizer.token_to_id(self.pad_token),
            pad_token=self.pad_token,
            length=self.max_tokens if self.pads_to_max else None,
        )


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> Tokens:
    """Turn texts into ids int64 (B, L) and a mask bool (B, L)."""
    encodings = tokenizer.encode_batch(list(texts))
    ids = torch.tensor([encoding.ids for encoding in encodings])
    mask = torch.tensor([encoding.attention_mask for encoding in encodings])
    return Tokens(ids, mask.bool())
