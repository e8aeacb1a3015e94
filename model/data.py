"""Pairs of clips and texts, collated into batches. Shapes: B pairs, T frames, S frame side."""

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
        clips: RGB frames, uint8 (B, T, S, S, 3).
        texts: text i belongs to clip i.
        groups: pairs with the same number are counterparts, int64 (B,).
        is_true: whether text i is true of clip j, bool (B, B); the diagonal is True.
        clip_facts: classes of the facts of each clip, -100 where unknown, int64 (B, F).
        text_facts: the same as far as the text tells them, int64 (B, F).
    """

    clips: NDArray[np.uint8]
    texts: list[str]
    groups: NDArray[np.int64]
    is_true: NDArray[np.bool_]
    clip_facts: NDArray[np.int64]
    text_facts: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """The same as tensors, texts as tokens, pixels normalised.

    Attributes:
        frames: float32 (B, T, 3, S, S).
        tokens: of B texts.
        groups: int64 (B,).
        is_true: bool (B, B).
        clip_facts: int64 (B, F).
        text_facts: int64 (B, F).
    """

    frames: Tensor
    tokens: Tokens
    groups: Tensor
    is_true: Tensor
    clip_facts: Tensor
    text_facts: Tensor


def collate(raw: RawBatch, tokenizer: Tokenizer, *, preprocessing: Preprocessing) -> Batch:
    """Turn a raw batch into tensors.

    Args:
        raw: clips and texts.
        tokenizer: pads nothing by itself; rows are padded with id 0 here.
        preprocessing: the same that the bundle is served with.
    """
    return Batch(
        frames=preprocessing.normalise(torch.from_numpy(raw.clips)),
        tokens=pad([encoding.ids for encoding in tokenizer.encode_batch(raw.texts)]),
        groups=torch.from_numpy(raw.groups),
        is_true=torch.from_numpy(raw.is_true),
        clip_facts=torch.from_numpy(raw.clip_facts),
        text_facts=torch.from_numpy(raw.text_facts),
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


def prefetch(make: Callable[[int], Item], *, first: int, ahead: int = 4) -> Iterator[Item]:
    """Yield `make(first)`, `make(first + 1)`, ..., made in a process of its own.

    The batch of a step depends on its number alone, so training can resume at any step.

    Args:
        make: picklable; equal numbers give equal items.
        first: the first number.
        ahead: how many items are made ahead of time.
    """
    numbers = count(first)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        waiting: list[Future[Item]] = []
        try:
            while True:
                while len(waiting) < ahead:
                    waiting.append(pool.submit(partial(make, next(numbers))))
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
