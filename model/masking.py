"""Which words are hidden for the masked-language objective. Shapes: B texts, L tokens, V words."""

from dataclasses import dataclass
from operator import itemgetter

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.objectives.masked_language import IGNORED
from model.retrieval import Tokens

HIDDEN_SHARE = 0.15
"""BERT (arXiv:1810.04805, section 3.1): 15 % of the words are to be named,"""
MASKED_SHARE = 0.8
"""of which 80 % are replaced by the mask token,"""
RANDOM_SHARE = 0.1
"""10 % by a random word, and the rest stay as they are."""

CONTINUES = "##"
"""Begins the pieces that continue a word."""
MASK = "[MASK]"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", MASK)


@dataclass(frozen=True)
class MaskedWords:
    """Texts with hidden words.

    Attributes:
        tokens: the texts to read.
        labels: the true id where a word is to be named, else -100, int64 (B, L).
    """

    tokens: Tokens
    labels: Tensor


class WordMasker:
    """Hides whole words: the pieces of a word are hidden together.

    Args:
        mask_id: id of the mask token.
        special_ids: ids that are never hidden and never drawn as random words.
        is_continuation: True for pieces that continue a word (`##ing`), bool (V,).
        share: share of words to hide. At least one is hidden in every text that has words.
        generator: where the randomness comes from.
    """

    def __init__(
        self,
        *,
        mask_id: int,
        special_ids: list[int],
        is_continuation: Tensor,
        share: float = HIDDEN_SHARE,
        generator: torch.Generator | None = None,
    ) -> None:
        self.mask_id = mask_id
        self.is_special = torch.zeros_like(is_continuation)
        self.is_special[special_ids] = True
        self.is_continuation = is_continuation
        self.drawable = (~self.is_special).nonzero()[:, 0]
        self.share = share
        self.generator = generator

    @classmethod
    def of(
        cls,
        tokenizer: Tokenizer,
        *,
        words: int | None = None,
        share: float = HIDDEN_SHARE,
        generator: torch.Generator | None = None,
    ) -> "WordMasker":
        """Return the masker for a tokenizer of word pieces.

        Args:
            tokenizer: its pieces that continue a word begin with `##`.
            words: rows of the network's word table, where the tokenizer reads more: what the
                network cannot name is neither hidden nor drawn.
            share: share of words to hide.
            generator: where the randomness comes from.

        Raises:
            ValueError: the tokenizer has no token `[MASK]`.
        """
        mask_id = tokenizer.token_to_id(MASK)
        if mask_id is None:
            raise ValueError(f"the tokenizer has no token {MASK}: it cannot hide words")
        pieces = sorted(tokenizer.get_vocab().items(), key=itemgetter(1))
        is_continuation = torch.zeros(pieces[-1][1] + 1, dtype=torch.bool)
        is_continuation[[index for piece, index in pieces if piece.startswith(CONTINUES)]] = True
        return cls(
            mask_id=mask_id,
            special_ids=[
                index
                for piece, index in pieces
                if piece in SPECIAL or (words is not None and index >= words)
            ],
            is_continuation=is_continuation,
            share=share,
            generator=generator,
        )

    def __call__(self, tokens: Tokens) -> MaskedWords:
        """Return the texts with some words hidden; the originals are left alone."""
        ids = tokens.ids.cpu()
        is_word = tokens.mask.cpu() & ~self.is_special[ids]  # (B, L)
        return self.hide(tokens, self._choose_words(ids, is_word))

    def hide(self, tokens: Tokens, hidden: Tensor) -> MaskedWords:
        """Hide the tokens that were chosen: mask, exchange or keep each, by the shares of BERT.

        Args:
            tokens: left alone.
            hidden: which of them are to be named, bool (B, L) on the CPU.
        """
        device, ids = tokens.ids.device, tokens.ids.cpu()
        fate = torch.rand(ids.shape, generator=self.generator)
        drawn = torch.randint(len(self.drawable), ids.shape, generator=self.generator)
        is_random = hidden & (fate >= MASKED_SHARE) & (fate < MASKED_SHARE + RANDOM_SHARE)
        labels = ids.masked_fill(~hidden, IGNORED)
        ids = ids.masked_fill(hidden & (fate < MASKED_SHARE), self.mask_id)
        ids = torch.where(is_random, self.drawable[drawn], ids)
        return MaskedWords(Tokens(ids.to(device), tokens.mask), labels.to(device))

    def _choose_words(self, ids: Tensor, is_word: Tensor) -> Tensor:
        """Draw words and return which tokens belong to them, bool (B, L)."""
        starts = is_word & ~self.is_continuation[ids]
        word_index = starts.long().cumsum(dim=1).clamp(min=1) - 1  # which word a token is part of
        luck = torch.rand(ids.shape, generator=self.generator)  # one draw per word, by its index
        is_real = torch.arange(ids.shape[1]) < starts.sum(dim=1, keepdim=True)
        luck = luck.masked_fill(~is_real, 2.0)
        chosen = luck < self.share
        luckiest = luck.argmin(dim=1, keepdim=True)
        chosen = chosen.scatter(1, luckiest, value=True)  # at least one
        return is_word & chosen.gather(1, word_index)
