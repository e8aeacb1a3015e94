"""Split pairs into those to learn from and those to measure on, so that nothing leaks."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Generic, TypeVar
from uuid import UUID

import numpy as np
from sqlalchemy.orm import Session

from service.catalog.index_queries import read_embeddings
from service.pairs.collecting import Pair

NEAR_DUPLICATE = 0.98
"""Cosine of mean embeddings from which two videos count as the same."""
ROWS_PER_BLOCK = 1024

Unit = tuple[str, ...]
"""What is held out or not as a whole: a group, or a text of a group."""
T = TypeVar("T", bound=Hashable)


class HoldOut(StrEnum):
    """What is kept from training to measure on."""

    VIDEOS = "videos"
    """Whole videos, which training never sees."""
    CAPTIONS = "captions"
    """Other captions of videos that training does see."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """Pairs to learn from, and pairs to measure on."""

    train: list[Pair]
    held_out: list[Pair]


def split_pairs(
    pairs: Sequence[Pair],
    *,
    held_out_share: float,
    seed: int = 0,
    groups: Mapping[UUID, int] | None = None,
    hold_out: HoldOut = HoldOut.VIDEOS,
) -> Split:
    """Keep some pairs from training.

    Each group of videos with the same or nearly the same content (or each caption of it) draws a
    number by itself, from the seed and the content: pairs that come or go, of it or of others, do
    not move it to the other side. Only what chance would leave empty gets the nearest draw.

    Args:
        pairs: what there is.
        held_out_share: about which share is held out, 0 to 1.
        seed: another one holds out others.
        groups: videos of the same number are near-duplicates; see `duplicate_groups`.
        hold_out: whole videos, or captions of videos that stay.

    Returns:
        All pairs, each on one side. By videos, a group is on one side; by captions, each video
        with a true pair keeps one to train on, and a text is on one side within its group.

    Raises:
        ValueError: the share is not between 0 and 1.
    """
    if not 0 <= held_out_share <= 1:
        raise ValueError(f"a share of {held_out_share} cannot be held out")
    names = _names_of_groups(pairs, groups or {})
    units = [_unit_of(pair, names, hold_out) for pair in pairs]
    needs: dict[UUID | None, set[Unit]] = defaultdict(set)
    for pair, unit in zip(pairs, units, strict=True):
        if not pair.is_negative:
            needs[None if hold_out is HoldOut.VIDEOS else pair.video_id].add(unit)
    held_out = _choose(set(units), list(needs.values()), held_out_share, seed)
    split = Split(train=[], held_out=[])
    for pair, unit in zip(pairs, units, strict=True):
        (split.held_out if unit in held_out else split.train).append(pair)
    return split


def duplicate_groups(
    session: Session, generation_id: UUID, video_ids: Collection[UUID]
) -> dict[UUID, int]:
    """Number the groups of videos that look nearly the same.

    Videos are compared by the mean of their embeddings, and what is alike to one of a group
    belongs to it.

    Args:
        session: any session.
        generation_id: whose embeddings; videos that it lacks are left out.
        video_ids: which videos.
    """
    rows = read_embeddings(session, generation_id, video_ids)
    ids, means = [], []
    for video_id, own in groupby(rows, key=lambda row: row.video_id):
        mean = np.mean([np.frombuffer(row.vector, "<f2") for row in own], axis=0, dtype=np.float32)
        ids.append(video_id)
        means.append(mean / max(float(np.linalg.norm(mean)), 1e-6))
    if not ids:
        return {}
    groups = _Groups(range(len(ids)))
    vectors = np.stack(means)  # (N, E)
    for start in range(0, len(ids), ROWS_PER_BLOCK):
        similarities = vectors[start : start + ROWS_PER_BLOCK] @ vectors[start:].T
        for row, column in np.argwhere(similarities >= NEAR_DUPLICATE):
            groups.join(start + int(row), start + int(column))
    return {video_id: groups.of(index) for index, video_id in enumerate(ids)}


def _unit_of(pair: Pair, names: Mapping[UUID, str], hold_out: HoldOut) -> Unit:
    name = names[pair.video_id]
    return (name,) if hold_out is HoldOut.VIDEOS else (name, pair.text.casefold())


def _choose(units: set[Unit], needs: Sequence[set[Unit]], share: float, seed: int) -> set[Unit]:
    """Return the units to hold out; of each set of `needs` one is left to train on."""
    draws = {unit: _draw(seed, unit) for unit in units}
    held_out = {unit for unit in units if draws[unit] < share}
    for need in needs:
        if need <= held_out:
            held_out.remove(max(need, key=lambda unit: draws[unit]))
    useful = set[Unit]().union(*needs)
    if share > 0 and not held_out & useful:
        spare = useful.difference(*(need for need in needs if len(need) == 1))
        held_out |= {min(spare, key=lambda unit: draws[unit])} if spare else set()
    return held_out


def _draw(seed: int, unit: Unit) -> float:
    """Return a number in [0, 1) that depends on these alone."""
    digest = hashlib.sha256("\0".join((str(seed), *unit)).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _names_of_groups(pairs: Iterable[Pair], numbers: Mapping[UUID, int]) -> dict[UUID, str]:
    """Name the group of each video by the smallest digest in it: numbers change, contents do not.

    Videos of the same content, and those of the same number, are one group.
    """
    digests = {pair.video_id: pair.sha256 for pair in pairs}
    groups = _Groups[UUID | str | int]([*digests, *digests.values(), *numbers.values()])
    for video_id, sha256 in digests.items():
        groups.join(video_id, sha256)
        if video_id in numbers:
            groups.join(video_id, numbers[video_id])
    members: dict[Hashable, list[str]] = defaultdict(list)
    for video_id, sha256 in digests.items():
        members[groups.of(video_id)].append(sha256)
    return {video_id: min(members[groups.of(video_id)]) for video_id in digests}


class _Groups(Generic[T]):
    """Things that are joined into groups (union-find)."""

    def __init__(self, things: Iterable[T]) -> None:
        self._parent = {thing: thing for thing in things}

    def of(self, thing: T) -> T:
        """Return the one that stands for the group of a thing."""
        while self._parent[thing] != thing:
            self._parent[thing] = self._parent[self._parent[thing]]
            thing = self._parent[thing]
        return thing

    def join(self, one: T, other: T) -> None:
        """Make their groups one."""
        self._parent[self.of(other)] = self.of(one)
