"""One immutable FAISS index with the keys of its positions.

Shapes: n positions (one per segment), m slots (one per video), E embedding width.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from uuid import UUID

import faiss
import numpy as np
from numpy.typing import NDArray

IndexKind = Literal["flat_fp16", "flat_fp32", "flat_int8"]

QUANTIZERS = {
    "flat_fp16": faiss.ScalarQuantizer.QT_fp16,
    "flat_int8": faiss.ScalarQuantizer.QT_8bit,
}
TIE = 1e-6
"""FAISS rounds a little differently when it counts than when it searches int8."""
ROWS_AT_ONCE = 65_536  # added at once: bounds the float32 copy that FAISS wants


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
    """A flat index that is never changed once made, so many threads may search it at once.

    (Adding to an index while another thread searches it crashes the process.)

    Args:
        index: what FAISS searches.
        keys: of its positions.

    Raises:
        ValueError: the index holds another number of positions than the keys.
    """

    def __init__(self, index: Any, keys: Keys) -> None:
        if index.ntotal != len(keys.slots):
            raise ValueError(f"the index has {index.ntotal} positions, {len(keys.slots)} keys")
        self.index = index
        self.keys = keys

    @classmethod
    def build(cls, vectors: NDArray[Any], keys: Keys, *, kind: IndexKind) -> "FaissIndex":
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
        return cls(index, keys)

    @classmethod
    def empty(cls, dim: int) -> "FaissIndex":
        """Return an index of nothing."""
        return cls.build(np.empty((0, dim), np.float16), Keys.of([], []), kind="flat_fp16")

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
        vectors: NDArray[np.float32] = self.index.reconstruct_n(0, len(self))
        return vectors

    def search(
        self, query: NDArray[np.float32], k: int, is_open: NDArray[np.bool_] | None = None
    ) -> list[Hit]:
        """Return the positions most similar to a query, best first.

        Args:
            query: unit norm, (E,).
            k: how many at most.
            is_open: slots that may be found, bool (m,); all if None. The rest is skipped while
                FAISS scans, so a filter never costs recall.
        """
        k = min(k, len(self))
        selector = self.selector(is_open) if is_open is not None else None
        if k == 0 or (is_open is not None and not is_open.any()):
            return []
        faiss.omp_set_num_threads(1)  # per calling thread; two threads a query lose under load
        # its Python names differ from those of the C++ signatures that mypy reads
        make_parameters: Any = faiss.SearchParameters
        parameters = make_parameters(sel=selector) if selector is not None else None
        similarities, positions = self.index.search(query[None], k, params=parameters)
        is_found = positions[0] >= 0  # FAISS fills up with -1
        return self._hits(positions[0][is_found], similarities[0][is_found])

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
        make_parameters: Any = faiss.SearchParameters
        selector = self.selector(is_open) if is_open is not None else None
        parameters = make_parameters(sel=selector) if selector is not None else None
        limits, _similarities, _positions = self.index.range_search(
            query[None], similarity + TIE, params=parameters
        )
        return int(limits[-1])

    def selector(self, is_open: NDArray[np.bool_]) -> Any:
        """Return what makes FAISS skip the positions of closed slots."""
        make_selector: Any = faiss.IDSelectorBitmap
        return make_selector(np.packbits(is_open[self.keys.slots], bitorder="little"))

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
