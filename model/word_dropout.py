"""Leave out words of texts in training, so that a clip is found by any of its words.

Few captions are soon known by heart, and a caption in other words is then a stranger. What has
learned to do without any of its words reads on where it meets a word that it never met.
Shapes: B texts, L tokens.
"""

import json
import random
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

import torch
from tokenizers import Tokenizer

from model.data import Batch
from model.masking import CONTINUES, WordMasker
from model.retrieval import Tokens

UNKNOWN = "[UNK]"
LETTER = len(CONTINUES) + 1
"""Length of a piece that is a single letter inside a word."""


class WordDropout:
    """Replaces words by the unknown word; one of them always stays.

    Each text draws its own share of words to lose, so that it is seen nearly whole as well as by
    a word or two.

    Args:
        tokenizer: of word pieces, with a token `[UNK]`.
        most: largest share of words that a text may lose.

    Raises:
        ValueError: the tokenizer has no token `[UNK]`.
    """

    def __init__(self, tokenizer: Tokenizer, *, most: float) -> None:
        unknown = tokenizer.token_to_id(UNKNOWN)
        if unknown is None:
            raise ValueError(f"the tokenizer has no token {UNKNOWN}: it cannot lose words")
        self.unknown: int = unknown
        self.most = most
        self._words = WordMasker.of(tokenizer)

    def __call__(self, tokens: Tokens, generator: torch.Generator) -> Tokens:
        """Return the texts without some of their words; all pieces of a word go together.

        Args:
            tokens: left alone.
            generator: where the randomness comes from.
        """
        ids = tokens.ids
        is_word = tokens.mask & ~self._words.is_special[ids]  # (B, L)
        starts = is_word & ~self._words.is_continuation[ids]
        share = self.most * torch.rand(len(ids), 1, generator=generator)
        luck = torch.rand(ids.shape, generator=generator)  # one draw per word, by its index
        is_real = torch.arange(ids.shape[1]) < starts.sum(dim=1, keepdim=True)
        luckiest = luck.masked_fill(~is_real, -1.0).argmax(dim=1, keepdim=True)
        lost = (luck < share).scatter(1, luckiest, value=False)
        word_of = starts.long().cumsum(dim=1).clamp(min=1) - 1  # which word a token is part of
        is_lost = is_word & lost.gather(1, word_of)
        return Tokens(ids.masked_fill(is_lost, self.unknown), tokens.mask)


def leave_out_words(
    batches: Generator[Batch, None, None], dropout: WordDropout, *, seed: int, first: int
) -> Generator[Batch, None, None]:
    """Yield batches whose texts have lost words; closing it closes `batches`.

    Args:
        batches: from a step on.
        dropout: which words go.
        seed: draws them, with the number of the step.
        first: the first step, counted from 0.
    """
    with closing(batches):
        for step, batch in enumerate(batches, start=first):
            drawn = random.Random(f"{seed}/words/{step}").getrandbits(48)  # noqa: S311 - no secret
            generator = torch.Generator().manual_seed(drawn)
            yield replace(batch, tokens=dropout(batch.tokens, generator))


def forget_spelling(tokenizer: Tokenizer) -> Tokenizer:
    """Return a tokenizer that reads a word it does not know as `[UNK]`, not letter by letter.

    A dozen letters that training never saw drown the words beside them. The letters inside words
    keep their ids under names that no text contains, as BERT's unused words do.

    Args:
        tokenizer: of word pieces; left as it is.
    """
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"] = {
        f"[unused {piece}]" if piece.startswith(CONTINUES) and len(piece) == LETTER else piece: row
        for piece, row in content["model"]["vocab"].items()
    }
    return Tokenizer.from_str(json.dumps(content))
