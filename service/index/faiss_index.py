"""One immutable FAISS index with the keys of its positions.

Shapes: n positions (one per segment), m slots (one per video), E embedding width.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import faiss
import numpy as np
from numpy.typing import NDArray

from service.index.kinds import BaseKind, FlatKind, NearKind
from service.index.near import exact_part, near_parameters

QUANTIZERS = {
    "flat_fp16": faiss.ScalarQuantizer.QT_fp16,
    "flat_int8": faiss.ScalarQuantizer.QT_8bit,
}
TIE = 1e-6
"""FAISS rounds a little differently when it counts than when it searches int8."""
ROWS_AT_ONCE = 65_536  # added at once: bounds the float32 copy that FAISS wants
SPARE = 1.2
"""More than a filter should need are looked for near: its share is that of all, not of these."""


class Slot(NamedTuple):
    """One upsert of a video: where all its segments came from.

    Attributes:
        video_id: the video.
        version: of the video, when it was embedded.
        seq: number of the change-log line that announced it.
    """

    video_id: UUID
    version: int
    seq: int


class Hit(NamedTuple):
    """A segment that FAISS found."""

    video_id: UUID
    version: int
    seq: int
    ordinal: int
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Near:
    """How a near index is used, and what was measured of that on its own gallery.

    Attributes:
        kind: of the index.
        effort: nodes of the graph or cells that a search looks at.
        depth: as many are looked for near at most; recall holds for any number up to it.
        recall: share of the exact answer that is found, the least of several lengths.
        speedup: how many times as quick as scanning it was.
        num_texts: of the queries that it was measured with, texts that people searched for.
        num_segments: the other queries, embeddings of the gallery.
    """

    kind: NearKind
    effort: int
    depth: int
    recall: float
    speedup: float
    num_texts: int
    num_segments: int


@dataclass(frozen=True, kw_only=True)
class Keys:
    """Which segment stands at which position.

    Attributes:
        video_ids: the 16 bytes of each slot's video, ascending, no video twice, S16 (m,).
        versions: version of each slot's video, int32 (m,).
        seqs: change-log number of each slot, int64 (m,).
        slots: slot of each position, int32 (n,).
        ordinals: ordinal of each position's segment, int32 (n,).
    """

    video_ids: NDArray[np.bytes_]
    versions: NDArray[np.int32]
    seqs: NDArray[np.int64]
    slots: NDArray[np.int32]
    ordinals: NDArray[np.int32]

    @classmethod
    def of(cls, slots: Iterable[Slot], positions: Iterable[tuple[int, int]]) -> "Keys":
        """Pack keys into arrays.

        Args:
            slots: in the order of their video ids.
            positions: place of its slot, and ordinal, of each position.
        """
        rows = list(slots)
        places = np.array(list(positions), np.int32).reshape(-1, 2)
        return cls(
            video_ids=pack_ids(slot.video_id for slot in rows),
            versions=np.array([slot.version for slot in rows], np.int32),
            seqs=np.array([slot.seq for slot in rows], np.int64),
            slots=np.ascontiguousarray(places[:, 0]),
            ordinals=np.ascontiguousarray(places[:, 1]),
        )

    def slots_of(self, video_ids: Collection[UUID]) -> NDArray[np.intp]:
        """Return the slots of those videos that are here."""
        wanted = pack_ids(video_ids)
        places = np.searchsorted(self.video_ids, wanted)
        is_here = places < len(self.video_ids)
        is_here[is_here] = self.video_ids[places[is_here]] == wanted[is_here]
        return places[is_here]

    def take(self, is_kept: NDArray[np.bool_]) -> tuple["Keys", NDArray[np.bool_]]:
        """Keep some slots, bool (m,); also return which positions remain, bool (n,)."""
        remains = is_kept[self.slots]
        new_places = np.cumsum(is_kept, dtype=np.int32) - 1
        kept = Keys(
            video_ids=self.video_ids[is_kept],
            versions=self.versions[is_kept],
            seqs=self.seqs[is_kept],
            slots=new_places[self.slots[remains]].astype(np.int32),
            ordinals=self.ordinals[remains],
        )
        return kept, remains


def pack_ids(video_ids: Iterable[UUID]) -> NDArray[np.bytes_]:
    """Return the bytes of ids as an array that sorts as they do, S16."""
    return np.frombuffer(b"".join(one.bytes for one in video_ids), dtype="S16")


class FaissIndex:
    """An index that is never changed once made, so many threads may search it at once.

    (Adding to an index while another thread searches it crashes the process.)

    Args:
        index: what FAISS searches.
        keys: of its positions.
        kind: what it is.
        near: how to look at a part of it only; if None, every search scans all of it.

    Raises:
        ValueError: the index holds another number of positions than the keys.
    """

    def __init__(
        self, index: Any, keys: Keys, *, kind: BaseKind = "flat_fp16", near: Near | None = None
    ) -> None:
        if index.ntotal != len(keys.slots):
            raise ValueError(f"the index has {index.ntotal} positions, {len(keys.slots)} keys")
        self.index = index
        self.keys = keys
        self.kind = kind
        self.near = near
        self.exact = exact_part(index, kind)

    @classmethod
    def build(cls, vectors: NDArray[Any], keys: Keys, *, kind: FlatKind) -> "FaissIndex":
        """Index embeddings, (n, E), float16 or float32."""
        dim = vectors.shape[1]
        index: Any
        if kind == "flat_fp32":
            index = faiss.IndexFlatIP(dim)
        else:
            index = faiss.IndexScalarQuantizer(dim, QUANTIZERS[kind], faiss.METRIC_INNER_PRODUCT)
        faiss.omp_set_num_threads(1)  # holds for the calling thread alone
        if not index.is_trained and len(vectors):
            index.train(vectors.astype(np.float32))  # the range of each int8 component
        for start in range(0, len(vectors), ROWS_AT_ONCE):
            index.add(vectors[start : start + ROWS_AT_ONCE].astype(np.float32))
        return cls(index, keys, kind=kind)

    @classmethod
    def empty(cls, dim: int) -> "FaissIndex":
        """Return an index of nothing."""
        return cls.build(np.empty((0, dim), np.float16), Keys.of([], []), kind="flat_fp16")

    def used(self, near: Near | None) -> "FaissIndex":
        """Return the same index, searched in another way."""
        return FaissIndex(self.index, self.keys, kind=self.kind, near=near)

    def __len__(self) -> int:
        """Return the number of positions n."""
        return len(self.keys.slots)

    @property
    def dim(self) -> int:
        """Embedding width E."""
        return int(self.index.d)

    def vectors(self) -> NDArray[np.float32]:
        """Return the embeddings as FAISS holds them, (n, E)."""
        if not len(self):
            return np.empty((0, self.dim), np.float32)
        vectors: NDArray[np.float32] = self.exact.index.reconstruct_n(0, len(self))
        return vectors

    def vectors_at(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the embeddings of some positions, (p, E)."""
        vectors: NDArray[np.float32] = self.exact.index.reconstruct_batch(positions)
        return vectors

    def search(
        self, query: NDArray[np.float32], k: int, is_open: NDArray[np.bool_] | None = None
    ) -> list[Hit]:
        """Return the positions most similar to a query, best first.

        A filter never costs recall. A near index looks for so many more that enough should pass,
        and where they do, the first k of them are those of a search that knew the filter. Where
        they do not, and where a filter keeps little, everything is scanned, which skips what is
        closed.

        Args:
            query: unit norm, (E,).
            k: how many at most.
            is_open: slots that may be found, bool (m,); all if None.
        """
        k = min(k, len(self))
        if k == 0 or (is_open is not None and not is_open.any()):
            return []
        faiss.omp_set_num_threads(1)  # per calling thread; two threads a query lose under load
        found = self.search_near(query, k, is_open)
        positions, similarities = found if found is not None else self._scan(query, k, is_open)
        return self._hits(positions, similarities)

    def search_near(
        self, query: NDArray[np.float32], k: int, is_open: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        """Return positions and similarities, (k,), by looking at a part of the index.

        Args:
            query: unit norm, (E,).
            k: how many.
            is_open: slots that may be found, bool (m,); all if None.

        Returns:
            None where that can't give k of them.
        """
        near = self.near
        if near is None:
            return None
        wanted = k if is_open is None else needed(k, is_open)
        if wanted > near.depth:
            return None
        parameters = near_parameters(near.kind, near.effort)
        positions, similarities = _found(self.index, query, int(wanted), parameters)
        if is_open is not None:
            passes = is_open[self.keys.slots[positions]]
            positions, similarities = positions[passes], similarities[passes]
        return (positions[:k], similarities[:k]) if len(positions) >= k else None

    def count_above(
        self,
        query: NDArray[np.float32],
        similarity: float,
        is_open: NDArray[np.bool_] | None = None,
    ) -> int:
        """Return how many positions are more similar to a query than this, ties left out.

        Args:
            query: unit norm, (E,).
            similarity: as `search` gave it.
            is_open: slots that count, bool (m,); all if None.
        """
        if not len(self) or (is_open is not None and not is_open.any()):
            return 0
        faiss.omp_set_num_threads(1)
        selector = self.selector(is_open) if is_open is not None else None
        limits, _similarities, _positions = self.exact.index.range_search(
            query[None], similarity + TIE, params=self.exact.parameters(selector)
        )
        return int(limits[-1])

    def selector(self, is_open: NDArray[np.bool_]) -> Any:
        """Return what makes FAISS skip the positions of closed slots."""
        make_selector: Any = faiss.IDSelectorBitmap
        return make_selector(np.packbits(is_open[self.keys.slots], bitorder="little"))

    def _scan(
        self, query: NDArray[np.float32], k: int, is_open: NDArray[np.bool_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        selector = self.selector(is_open) if is_open is not None else None
        return _found(self.exact.index, query, k, self.exact.parameters(selector))

    def _hits(self, positions: NDArray[np.int64], similarities: NDArray[np.float32]) -> list[Hit]:
        slots = self.keys.slots[positions]
        ids = self.keys.video_ids[slots].tobytes()
        columns = (
            [UUID(bytes=ids[start : start + 16]) for start in range(0, len(ids), 16)],
            self.keys.versions[slots].tolist(),
            self.keys.seqs[slots].tolist(),
            self.keys.ordinals[positions].tolist(),
            similarities.tolist(),
        )
        return [Hit(*row) for row in zip(*columns, strict=True)]


def needed(k: int, is_open: NDArray[np.bool_]) -> float:
    """Return how many to look for so that k should pass a filter, bool (m,)."""
    share = float(is_open.mean())
    return math.ceil(SPARE * k / share) if share else math.inf


def _found(
    index: Any, query: NDArray[np.float32], k: int, parameters: Any
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return positions and similarities of what FAISS finds, at most (k,)."""
    similarities, positions = index.search(query[None], k, params=parameters)
    is_found = positions[0] >= 0  # FAISS fills up with -1
    return positions[0][is_found], similarities[0][is_found]
