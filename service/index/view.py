"""What one search sees of a generation: immutable, replaced as a whole by each change."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.index.faiss_index import FaissIndex, Hit, Keys, Slot
from service.index.figures import IndexFigures
from service.index.kinds import BaseKind, FlatKind


@dataclass(frozen=True, kw_only=True)
class Upserted:
    """All embeddings of one video as one change brought them.

    Attributes:
        slot: where they came from.
        ordinals: of the N segments.
        vectors: float16 (N, E).
    """

    slot: Slot
    ordinals: Sequence[int]
    vectors: NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class IndexView:
    """The embeddings of a generation after the change `seq`.

    A large base that changes rarely, a small delta of what came since, and the dead slots of
    the base. Any number of threads may search it, while the next view is being made.

    Attributes:
        generation_id: what is indexed.
        model_version_id: whose embeddings these are.
        epoch: of the change log.
        seq: number of the last change that it contains.
        chain: digest of that change.
        base: the index as it was built.
        is_dead: slots of the base that were deleted or replaced since, bool (m,).
        delta: what was added since.
    """

    generation_id: UUID
    model_version_id: UUID
    epoch: str
    seq: int
    chain: str
    base: FaissIndex
    is_dead: NDArray[np.bool_]
    delta: FaissIndex

    @property
    def kind(self) -> BaseKind:
        """What the base is."""
        return self.base.kind

    @property
    def num_segments(self) -> int:
        """How many segments can be found."""
        return len(self.base) - self.num_dead + len(self.delta)

    @property
    def figures(self) -> IndexFigures:
        """What is shown of it."""
        near = self.base.near
        return IndexFigures(
            kind=self.kind,
            num_segments=self.num_segments,
            recall=1.0 if near is None else near.recall,
            effort=None if near is None else near.effort,
            num_texts=0 if near is None else near.num_texts,
            num_added=len(self.delta),
            num_dead=self.num_dead,
        )

    @cached_property
    def num_dead(self) -> int:
        """How many positions of the base are dead."""
        return int(self.is_dead[self.base.keys.slots].sum())

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: Collection[UUID] | None = None,
        *,
        max_seq: int | None = None,
    ) -> list[Hit]:
        """Return the segments most similar to a query, best first.

        Args:
            query: unit norm, (E,).
            k: how many at most.
            allowed: only segments of these videos; all if None.
            max_seq: only what was there after this change; all if None.
        """
        hits: list[Hit] = []
        for part, is_dead in ((self.base, self.is_dead), (self.delta, None)):
            hits += part.search(query, k, _open_slots(part.keys, is_dead, allowed, max_seq))
        hits.sort(key=lambda hit: (-hit.similarity, hit.video_id.bytes, hit.ordinal))
        return hits[:k]

    def count_above(
        self,
        query: NDArray[np.float32],
        similarity: float,
        allowed: Collection[UUID] | None = None,
    ) -> int:
        """Return how many segments are more similar to a query than this.

        Args:
            query: unit norm, (E,).
            similarity: as `search` gave it.
            allowed: only segments of these videos count; all if None.
        """
        parts = ((self.base, self.is_dead), (self.delta, None))
        return sum(
            part.count_above(query, similarity, _open_slots(part.keys, is_dead, allowed, None))
            for part, is_dead in parts
        )

    def apply(
        self, *, seq: int, chain: str, gone: Collection[UUID], upserts: Sequence[Upserted]
    ) -> "IndexView":
        """Return the view after some more changes.

        Args:
            seq: number of the last of them.
            chain: its digest.
            gone: videos whose earlier embeddings are not valid any more.
            upserts: new embeddings, each video once.
        """
        if not gone and not upserts:
            return replace(self, seq=seq, chain=chain)
        is_dead = self.is_dead.copy()
        is_dead[self.base.keys.slots_of(gone)] = True
        is_kept = np.ones(len(self.delta.keys.seqs), np.bool_)
        is_kept[self.delta.keys.slots_of(gone)] = False
        delta = _rebuilt(self.delta, is_kept, upserts, kind=delta_kind(self.kind))
        return replace(self, seq=seq, chain=chain, is_dead=is_dead, delta=delta)

    def rebased(self, fresh: "IndexView") -> "IndexView":
        """Return the same content on the base of a view that was loaded meanwhile.

        Args:
            fresh: loaded from SQL at some change that this view contains.

        Raises:
            ValueError: the fresh view is of another generation or epoch, or is ahead.
        """
        mine, its = (self.generation_id, self.epoch), (fresh.generation_id, fresh.epoch)
        if mine != its or fresh.seq > self.seq:
            raise ValueError(f"view {mine} at {self.seq} can't stand on {its} at {fresh.seq}")
        alive = np.concatenate([self.base.keys.seqs[~self.is_dead], self.delta.keys.seqs])
        is_newer = self.delta.keys.seqs > fresh.seq
        return replace(
            self,
            base=fresh.base,
            is_dead=~np.isin(fresh.base.keys.seqs, alive),
            delta=_rebuilt(self.delta, is_newer, [], kind=delta_kind(self.kind)),
        )


def delta_kind(kind: BaseKind) -> FlatKind:
    """Return what a delta is: never int8, whose ranges want to be learned from many."""
    return "flat_fp32" if kind == "flat_fp32" else "flat_fp16"


def keys_of(upserts: Sequence[Upserted]) -> Keys:
    """Return the keys of upserts that are in the order of their videos."""
    return Keys.of(
        [one.slot for one in upserts],
        [(place, ordinal) for place, one in enumerate(upserts) for ordinal in one.ordinals],
    )


def _open_slots(
    keys: Keys,
    is_dead: NDArray[np.bool_] | None,
    allowed: Collection[UUID] | None,
    max_seq: int | None,
) -> NDArray[np.bool_] | None:
    """Return which slots may be found, (m,); None if all may."""
    is_open = ~is_dead if is_dead is not None and is_dead.any() else None
    if allowed is not None:
        is_allowed = np.zeros(len(keys.seqs), np.bool_)
        is_allowed[keys.slots_of(allowed)] = True
        is_open = is_allowed if is_open is None else is_open & is_allowed
    if max_seq is not None and (keys.seqs > max_seq).any():
        is_old = keys.seqs <= max_seq
        is_open = is_old if is_open is None else is_open & is_old
    return is_open


def _rebuilt(
    index: FaissIndex, is_kept: NDArray[np.bool_], upserts: Sequence[Upserted], *, kind: FlatKind
) -> FaissIndex:
    """Return an index of some slots of another and of new ones."""
    if not upserts and is_kept.all():
        return index
    keys, remains = index.keys.take(is_kept)
    upserts = sorted(upserts, key=lambda one: one.slot.video_id.bytes)
    vectors: list[NDArray[Any]] = [index.vectors()[remains], *(one.vectors for one in upserts)]
    return FaissIndex.build(np.concatenate(vectors), _merged(keys, keys_of(upserts)), kind=kind)


def _merged(first: Keys, second: Keys) -> Keys:
    """Return the keys of the positions of one index and then of another, videos in order."""
    video_ids = np.concatenate([first.video_ids, second.video_ids])
    order = np.argsort(video_ids, kind="stable")
    place_of: NDArray[Any] = np.empty(len(order), np.int32)
    place_of[order] = np.arange(len(order), dtype=np.int32)
    slots = np.concatenate([first.slots, second.slots + np.int32(len(first.seqs))])
    return Keys(
        video_ids=video_ids[order],
        versions=np.concatenate([first.versions, second.versions])[order],
        seqs=np.concatenate([first.seqs, second.seqs])[order],
        slots=place_of[slots],
        ordinals=np.concatenate([first.ordinals, second.ordinals]),
    )
