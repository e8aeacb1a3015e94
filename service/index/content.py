"""What a view holds, in a form that two processes can compare."""

import hashlib
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from service.index.faiss_index import FaissIndex
from service.index.milvus_index import MilvusIndex
from service.index.vector_index import VectorIndex
from service.index.view import IndexView

ROUGH = "flat_int8"
"""The kind of base that does not give every vector back as it was stored."""


class Content(NamedTuple):
    """What can be found in one generation after one change.

    Attributes:
        generation_id: what is indexed.
        epoch: of the change log.
        seq: number of the last change that is contained.
        num_segments: how many segments can be found.
        keys_digest: SHA-256 of (video, version, ordinal) of each, in order.
        vectors_digest: SHA-256 of their embeddings, float16, in the same order; None where the
            base keeps them only roughly.
    """

    generation_id: UUID
    epoch: str
    seq: int
    num_segments: int
    keys_digest: str
    vectors_digest: str | None


def content_of(view: VectorIndex) -> Content:
    """Describe what an index holds. It takes as long as reading all of it."""
    return _held_outside(view) if isinstance(view, MilvusIndex) else _held_here(view)


def _held_outside(view: MilvusIndex) -> Content:
    rows = [
        (UUID(hex=row["video_id"]).bytes, row["ordinal"], row["version"])
        for row in view.store.keys(view.place)
    ]
    rows.sort()
    keys = hashlib.sha256(b"".join(row[0] for row in rows))
    keys.update(np.array([row[2] for row in rows], "<i4").tobytes())
    keys.update(np.array([row[1] for row in rows], "<i4").tobytes())
    return Content(
        generation_id=view.generation_id,
        epoch=view.epoch,
        seq=view.seq,
        num_segments=len(rows),
        keys_digest=keys.hexdigest(),
        vectors_digest=None,
    )


def _held_here(view: VectorIndex) -> Content:
    if not isinstance(view, IndexView):
        raise TypeError(f"{type(view)} can't be described")
    is_alive = ~view.is_dead[view.base.keys.slots]
    parts = [_rows(view.base, is_alive), _rows(view.delta, np.ones(len(view.delta), np.bool_))]
    ids, versions, ordinals = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((ordinals, ids))
    keys = hashlib.sha256(np.ascontiguousarray(ids[order]).tobytes())
    keys.update(versions[order].astype("<i4").tobytes())
    keys.update(ordinals[order].astype("<i4").tobytes())
    vectors = _vectors_digest(view, is_alive, order) if view.kind != ROUGH else None
    return Content(
        generation_id=view.generation_id,
        epoch=view.epoch,
        seq=view.seq,
        num_segments=len(order),
        keys_digest=keys.hexdigest(),
        vectors_digest=vectors,
    )


def _rows(
    index: FaissIndex, is_alive: NDArray[np.bool_]
) -> tuple[NDArray[np.bytes_], NDArray[np.int32], NDArray[np.int32]]:
    keys = index.keys
    slots = keys.slots[is_alive]
    return keys.video_ids[slots], keys.versions[slots], keys.ordinals[is_alive]


def _vectors_digest(view: IndexView, is_alive: NDArray[np.bool_], order: NDArray[np.intp]) -> str:
    vectors: NDArray[Any] = np.concatenate([view.base.vectors()[is_alive], view.delta.vectors()])
    return hashlib.sha256(vectors[order].astype("<f2").tobytes()).hexdigest()
