"""A generation in Milvus, as searches see it after one change."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.errors import UnavailableError
from service.index.faiss_index import TIE, Hit
from service.index.figures import IndexFigures
from service.index.milvus_store import IDS_AT_ONCE, MOST_HITS, MilvusStore, among, in_parts

WIDER = 8
"""How many times as many are looked for when too few of the first passed a filter."""


@dataclass(frozen=True, kw_only=True)
class MilvusIndex:
    """The embeddings of a generation in Milvus after the change `seq`.

    Milvus may hold later changes, too. That does no harm: what is found is checked in SQL.

    Attributes:
        generation_id: what is indexed.
        model_version_id: whose embeddings these are.
        epoch: of the change log.
        seq: number of the last change that it is known to contain.
        place: the collection.
        store: the server.
    """

    generation_id: UUID
    model_version_id: UUID
    epoch: str
    seq: int
    place: str
    store: MilvusStore

    @property
    def num_segments(self) -> int:
        """How many segments can be found."""
        return self.store.count(self.place)

    @property
    def figures(self) -> IndexFigures:
        """What is shown of it; its recall is Milvus' own affair."""
        try:
            count = self.num_segments
        except UnavailableError:
            count = None
        return IndexFigures(kind="milvus", num_segments=count, recall=None)

    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        allowed: Collection[UUID] | None = None,
        *,
        max_seq: int | None = None,
    ) -> list[Hit]:
        """Return the segments most similar to a query, best first.

        A filter costs no recall: where it keeps few videos, Milvus is told which. Where it keeps
        many, more are looked for and those that pass are kept; if too few do, Milvus is told
        which, some at a time.

        Args:
            query: unit norm, (E,).
            k: how many at most.
            allowed: only segments of these videos; all if None.
            max_seq: only what was there after this change; all if None.

        Raises:
            UnavailableError: Milvus does not answer.
        """
        condition = "" if max_seq is None else f"seq <= {max_seq}"
        if allowed is None:
            return self._best(query, k, condition)
        if len(allowed) > IDS_AT_ONCE:
            wide = self._widely(query, k, allowed, condition)
            if wide is not None:
                return wide
        hits: list[Hit] = []
        for some in in_parts(sorted(allowed), IDS_AT_ONCE):
            hits += self._best(query, k, _both(among(some), condition))
        return _in_order(hits)[:k]

    def count_above(
        self,
        query: NDArray[np.float32],
        similarity: float,
        allowed: Collection[UUID] | None = None,
    ) -> int:
        """Return how many segments are more similar to a query than this, 16,384 at most.

        Args:
            query: unit norm, (E,).
            similarity: as `search` gave it.
            allowed: only segments of these videos count; all if None.
        """
        hits = self.store.search(self.place, query, MOST_HITS, above=similarity + TIE)
        return sum(allowed is None or hit.video_id in allowed for hit in _newest(hits))

    def _best(self, query: NDArray[np.float32], k: int, condition: str) -> list[Hit]:
        hits = self.store.search(self.place, query, min(k, MOST_HITS), condition=condition)
        return _in_order(_newest(hits))

    def _widely(
        self, query: NDArray[np.float32], k: int, allowed: Collection[UUID], condition: str
    ) -> list[Hit] | None:
        """Return the best that pass a filter, from the best of all; None if too few pass."""
        wanted = 2 * k
        while wanted <= MOST_HITS:
            found = self._best(query, wanted, condition)
            passing = [hit for hit in found if hit.video_id in allowed]
            if len(passing) >= k or len(found) < wanted:
                return passing[:k]
            wanted *= WIDER
        return None


def _both(first: str, second: str) -> str:
    return f"{first} and {second}" if second else first


def _newest(hits: Collection[Hit]) -> list[Hit]:
    """Leave out a segment's older embedding, which is there while a newer one takes its place."""
    newest: dict[tuple[UUID, int], int] = {}
    for hit in hits:
        key = (hit.video_id, hit.ordinal)
        newest[key] = max(hit.seq, newest.get(key, 0))
    return [hit for hit in hits if newest[hit.video_id, hit.ordinal] == hit.seq]


def _in_order(hits: list[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.video_id.bytes, hit.ordinal))
