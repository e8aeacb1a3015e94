"""Hide the words that carry the meaning: nouns and verb phrases. Shapes: B texts, L tokens.

Semantic masking of Clover (arXiv:2207.07885), with three differences from the published code:

* a word counts once, however many verb phrases it is in; there, overlapping phrases list it again,
  which favours verbs and hides more;
* a text without nouns and verbs hides one word, drawn from all; there, nothing, and the text with
  hidden words is asked to be worse than itself;
* words come from word pieces and are tagged as they are, so that none is taken for its neighbour.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from tokenizers import Tokenizer

from model.masking import CONTINUES, MaskedWords, WordMasker
from model.parts_of_speech import meaningful_words
from model.retrieval import Tokens

HIDDEN_SHARE = 0.3
"""Of the words that carry the meaning."""
REMEMBERED_TEXTS = 1 << 16
"""Their tags are kept; a text of the training data comes again every epoch."""


@dataclass(frozen=True)
class _Candidates:
    """Words of a text that may be hidden.

    Attributes:
        spans: the slots [start, end) of each.
        count: how many are hidden.
    """

    spans: tuple[tuple[int, int], ...]
    count: int


class SemanticMasker:
    """Hides whole words among the nouns, proper nouns and verb phrases of a text.

    What becomes of a hidden word is as in `WordMasker`.

    Args:
        tokenizer: of word pieces; those that continue a word begin with `##`.
        words: rows of the network's word table, see `WordMasker.of`.
        share: share of these words to hide, at least one.
        generator: where the randomness comes from.

    Raises:
        ValueError: the tokenizer has no token `[MASK]`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        words: int | None = None,
        share: float = HIDDEN_SHARE,
        generator: torch.Generator | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.share = share
        self.words = WordMasker.of(tokenizer, words=words, generator=generator)
        self._find_candidates = lru_cache(REMEMBERED_TEXTS)(self._tag)

    @property
    def generator(self) -> torch.Generator | None:
        """Where the randomness comes from."""
        return self.words.generator

    @generator.setter
    def generator(self, generator: torch.Generator | None) -> None:
        self.words.generator = generator

    def __call__(self, tokens: Tokens) -> MaskedWords:
        """Return the texts with some words hidden; the originals are left alone."""
        ids, mask = tokens.ids.cpu(), tokens.mask.cpu()
        luck = torch.rand(ids.shape, generator=self.generator)  # one draw per candidate
        hidden = torch.zeros_like(mask)
        for row, (text, length) in enumerate(zip(ids, mask.sum(dim=1).tolist(), strict=True)):
            candidates = self._find_candidates(tuple(text[:length].tolist()))
            order = luck[row, : len(candidates.spans)].argsort().tolist()
            for index in order[: candidates.count]:
                hidden[row, slice(*candidates.spans[index])] = True
        return self.words.hide(tokens, hidden)

    def _tag(self, ids: tuple[int, ...]) -> _Candidates:
        """Find the words of a text that may be hidden."""
        spans: list[tuple[int, int]] = []
        words: list[str] = []
        for slot, index in enumerate(ids):
            if self.words.is_special[index]:
                continue
            piece = self.tokenizer.id_to_token(index) or ""
            if piece.startswith(CONTINUES) and words:
                words[-1] += piece.removeprefix(CONTINUES)
                spans[-1] = (spans[-1][0], slot + 1)
            else:
                words.append(piece)
                spans.append((slot, slot + 1))
        found = [spans[index] for index in meaningful_words(words)]
        if not found:
            return _Candidates(tuple(spans), min(1, len(spans)))
        return _Candidates(tuple(found), max(1, round(self.share * len(found))))
