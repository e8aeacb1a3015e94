"""Stored clips for re-ranking, the ones used last kept in memory."""

import numpy as np
from numpy.typing import NDArray

from service.catalog.index_queries import LiveSegment
from service.encoder import ClipKey
from service.errors import NotFoundError, StorageUnavailableError
from service.recent import Recent
from service.storage import Storage

KEPT_BYTES = 128 * 1024 * 1024


class ClipStore:
    """Read stored clips; safe to use from many threads.

    Args:
        storage: where they lie.
        kept_bytes: total size of those kept in memory.
    """

    def __init__(self, storage: Storage, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._storage = storage
        self._kept: Recent[tuple[str, int], NDArray[np.uint8]] = Recent(
            kept_bytes, cost=lambda clip: clip.nbytes
        )

    def read(self, segment: LiveSegment) -> NDArray[np.uint8] | None:
        """Return the clip of a segment, uint8 (T, S, S, 3); None if its file cannot be had now."""
        key = (segment.derived, segment.position)  # generations may read clips of their own
        clip = self._kept.get(key)
        if clip is None:
            try:
                clip = self._storage.read_clip(*key)
            except (NotFoundError, StorageUnavailableError):
                return None  # deleted since SQL was asked; or an answer without it is better
            self._kept.put(key, clip)
        return clip


def clip_key(segment: LiveSegment) -> ClipKey:
    """Name the clip of a segment."""
    return ClipKey(segment.video_id, segment.video_version, segment.ordinal)
