"""Stored clips for re-ranking, the ones used last kept in memory."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from service.catalog.index_queries import LiveSegment
from service.encoder import ClipKey
from service.errors import NotFoundError, StorageUnavailableError
from service.recent import Recent
from service.storage import Storage

KEPT_BYTES = 128 * 1024 * 1024
READ_AT_ONCE = 16
"""Of a remote store, for all searches together: each clip is a request."""


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
        is_remote = storage.store.is_remote
        self._readers = ThreadPoolExecutor(READ_AT_ONCE, "clips") if is_remote else None

    def read_all(
        self, segments: Sequence[LiveSegment], deadline: float
    ) -> list[NDArray[np.uint8] | None]:
        """Return the clips of some segments; None for those that cannot be had in time.

        Args:
            segments: whose clips; from a remote store several are read at a time.
            deadline: `time.monotonic()` at which a remote store is waited for no longer.
        """
        if self._readers is None:
            return [self.read(segment) for segment in segments]
        reading = [self._readers.submit(self._read_if_there, segment) for segment in segments]
        wait(reading, max(0.0, deadline - time.monotonic()))
        return [None if one.cancel() or not one.done() else one.result() for one in reading]

    def read(self, segment: LiveSegment) -> NDArray[np.uint8] | None:
        """Return the clip of a segment, uint8 (T, S, S, 3); None if its file is gone.

        Raises:
            StorageUnavailableError: the store is away.
        """
        key = (segment.derived, segment.position)  # generations may read clips of their own
        clip = self._kept.get(key)
        if clip is None:
            try:
                clip = self._storage.read_clip(*key)
            except NotFoundError:  # deleted since SQL was asked
                return None
            self._kept.put(key, clip)
        return clip

    def _read_if_there(self, segment: LiveSegment) -> NDArray[np.uint8] | None:
        try:
            return self.read(segment)
        except StorageUnavailableError:  # an answer without it is better than none
            return None


def clip_key(segment: LiveSegment) -> ClipKey:
    """Name the clip of a segment."""
    return ClipKey(segment.video_id, segment.video_version, segment.ordinal)
