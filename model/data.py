"""Pairs of clips and texts, collated into batches.

Shapes: B pairs, b of them whose clips this process has, T frames, S frame side, F facts.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing import get_context
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from model.preprocessing import Preprocessing
from model.retrieval import Tokens

Item = TypeVar("Item")


@dataclass(frozen=True)
class RawBatch:
    """What a data process hands over: cheap to pickle, free of torch.

    Attributes:
        clips: RGB frames of this process's rows, uint8 (b, T, S, S, 3).
        texts: of all B rows; text i belongs to clip i.
        groups: pairs with the same number are counterparts, int64 (B,).
        is_true: whether text i is true of clip j, bool (B, B); the diagonal is True.
        clip_facts: classes of the facts of each clip, -100 where unknown, int64 (B, F).
        text_facts: the same as far as the text tells them, int64 (B, F).
        first_row: row of the first clip.
    """

    clips: NDArray[np.uint8]
    texts: list[str]
    groups: NDArray[np.int64]
    is_true: NDArray[np.bool_]
    clip_facts: NDArray[np.int64]
    text_facts: NDArray[np.int64]
    first_row: int = 0


@dataclass(frozen=True)
class Batch:
    """The same with texts as tokens; clips stay bytes until the network asks for them.

    Every process knows all texts, so that all draw the same hidden words and wrong partners, and
    has the clips of its own rows.

    Attributes:
        clips: uint8 (b, T, S, S, 3).
        texts: of all B rows.
        tokens: of all B rows.
        groups: int64 (B,).
        is_true: bool (B, B).
        clip_facts: int64 (B, F).
        text_facts: int64 (B, F).
        preprocessing: how pixels are scaled.
        first_row: row of the first clip.
    """

    clips: Tensor
    texts: list[str]
    tokens: Tokens
    groups: Tensor
    is_true: Tensor
    clip_facts: Tensor
    text_facts: Tensor
    preprocessing: Preprocessing
    first_row: int = 0

    def __len__(self) -> int:
        """Return the number of rows B of all processes."""
        return len(self.tokens)

    @property
    def own_rows(self) -> slice:
        """The rows whose clips are here."""
        return slice(self.first_row, self.first_row + len(self.clips))

    @property
    def frames(self) -> Tensor:
        """All clips that are here, normalised, float32 (b, T, 3, S, S)."""
        return self.preprocessing.normalise(self.clips)

    def frames_of(self, rows: slice | Tensor, device: torch.device) -> Tensor:
        """Return some clips on a device, normalised there, float32 (rows, T, 3, S, S).

        Args:
            rows: counted among all B; they must be this process's own.
            device: where the network is.
        """
        if isinstance(rows, slice):
            here = self.clips[rows.start - self.first_row : rows.stop - self.first_row]
        else:
            here = self.clips[rows - self.first_row]
        return self.preprocessing.normalise(here.to(device, non_blocking=True))


def collate(raw: RawBatch, tokenizer: Tokenizer, *, preprocessing: Preprocessing) -> Batch:
    """Turn a raw batch into tensors.

    Args:
        raw: clips and texts.
        tokenizer: cuts long texts; it pads nothing: rows are padded with id 0 here.
        preprocessing: the same that the bundle is served with.
    """
    return Batch(
        clips=torch.from_numpy(raw.clips),
        texts=raw.texts,
        tokens=pad([encoding.ids for encoding in tokenizer.encode_batch(raw.texts)]),
        groups=torch.from_numpy(raw.groups),
        is_true=torch.from_numpy(raw.is_true),
        clip_facts=torch.from_numpy(raw.clip_facts),
        text_facts=torch.from_numpy(raw.text_facts),
        preprocessing=preprocessing,
        first_row=raw.first_row,
    )


def pad(rows: Sequence[Sequence[int]]) -> Tokens:
    """Pad rows of token ids with 0 to the longest."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        mask[index, : len(row)] = True
    return Tokens(ids, mask)


def trim(tokens: Tokens) -> Tokens:
    """Cut the padding that none of the texts needs."""
    longest = int(tokens.mask.sum(dim=1).max())
    return Tokens(tokens.ids[:, :longest], tokens.mask[:, :longest])


def prefetch(make: Callable[[int], Item], *, first: int, ahead: int = 4) -> Iterator[Item]:
    """Yield `make(first)`, `make(first + 1)`, ..., made in a process of its own.

    The batch of a step depends on its number alone, so training can resume at any step.

    Args:
        make: picklable; equal numbers give equal items.
        first: the first number.
        ahead: how many items are made ahead of time.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_leave_signals) as pool:
        yield from ahead_of_time(lambda number: pool.submit(partial(make, number)), first, ahead)


def ahead_of_time(submit: Callable[[int], Future[Item]], first: int, ahead: int) -> Iterator[Item]:
    """Yield the results of `submit(first)`, `submit(first + 1)`, ..., `ahead` of them under way."""
    numbers = count(first)
    waiting: list[Future[Item]] = []
    try:
        while True:
            while len(waiting) < ahead:
                waiting.append(submit(next(numbers)))
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def _leave_signals() -> None:
    """Let Ctrl-C, which reaches all processes of a terminal, be the trainer's business alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
