"""Batches of one's own videos: which pairs a step learns from depends on its number alone.

Shapes: B rows of a batch, T frames, S frame side.
"""

import random
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.clip_store import ClipStore
from model.data import Batch, RawBatch, ahead_of_time, collate
from model.distributed import Processes
from model.pairs import VideoPair

AHEAD = 4
"""Batches that are made while the network learns from one."""


@dataclass(frozen=True)
class PairBatches:
    """Makes the batch of any step; equal numbers give equal batches.

    Every epoch has an order of its own, and no pair twice; what is left of it after the last whole
    batch waits for another epoch.

    Attributes:
        pairs: all of them can be decoded.
        store: decodes them.
        batch: rows of all processes B.
        seed: draws orders and captions.
        processes: which rows are this process's own.
        forgotten: ordinals of captions that were taken back. The next in order take their places;
            all other draws stay as they were.
    """

    pairs: Sequence[VideoPair]
    store: ClipStore
    batch: int
    seed: int
    processes: Processes
    forgotten: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Refuse a batch that the pairs do not fill."""
        if not 0 < self.batch <= len(self.pairs):
            raise ValueError(f"{len(self.pairs)} pairs do not fill a batch of {self.batch}")

    def __call__(self, step: int) -> RawBatch:
        """Return the batch of a step, counted from 0."""
        chosen = self._rows(step)
        draw = random.Random(f"{self.seed}/caption/{step}")  # noqa: S311 - no secret
        texts = [self._draw_text(pair, draw) for pair in chosen]
        own = self.processes.own_rows(len(chosen))
        nothing = np.zeros((len(chosen), 0), np.int64)
        return RawBatch(
            clips=self.store.load(chosen[own]),
            texts=texts,
            groups=np.arange(len(chosen)),
            is_true=_truths([pair.left(self.forgotten) for pair in chosen], texts),
            clip_facts=nothing,
            text_facts=nothing,
            first_row=own.start,
        )

    def batches(self, tokenizer: Tokenizer, *, first: int) -> Generator[Batch, None, None]:
        """Yield the batches from a step on, made ahead of time beside the training.

        Args:
            tokenizer: cuts long texts and pads nothing.
            first: the first step, counted from 0.
        """

        def make(step: int) -> Batch:
            return collate(self(step), tokenizer, preprocessing=self.store.preprocessing)

        with ThreadPoolExecutor(1) as pool:
            yield from ahead_of_time(lambda step: pool.submit(make, step), first, AHEAD)

    def _draw_text(self, pair: VideoPair, draw: random.Random) -> str:
        """Draw one of all captions; if it was taken back, the next that was not."""
        first = draw.choice(range(len(pair.captions)))
        if not pair.ordinals:
            return pair.captions[first]
        count = len(pair.captions)
        turns = ((first + turn) % count for turn in range(count))
        return next(pair.captions[i] for i in turns if pair.ordinals[i] not in self.forgotten)

    def _rows(self, step: int) -> list[VideoPair]:
        per_epoch = len(self.pairs) // self.batch
        epoch, place = divmod(step, per_epoch)
        order = _order(len(self.pairs), self.seed, epoch)
        first = place * self.batch
        if not self.forgotten:
            return [self.pairs[i] for i in order[first : first + self.batch]]
        turned = (self.pairs[i] for i in order[first:] + order[:first])
        left = (pair for pair in turned if pair.left(self.forgotten))
        rows = list(islice(left, self.batch))
        return rows[: len(rows) - len(rows) % self.processes.count]


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> list[int]:
    """Return in which order an epoch goes through the pairs."""
    order = list(range(count))
    random.Random(f"{seed}/order/{epoch}").shuffle(order)  # noqa: S311 - no secret
    return order


def _truths(known: Sequence[Sequence[str]], texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return whether text i is known to be true of clip j, bool (B, B)."""
    said = [{caption.casefold() for caption in captions} for captions in known]
    return np.array([[text.casefold() in captions for captions in said] for text in texts])
