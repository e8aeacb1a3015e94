"""What an ingest leaves beside a video: the clips that re-ranking reads, and the thumbnails.

Shapes: N segments that could be decoded, T frames, S side. Files: `clips.npy` uint8 (N, T, S, S, 3)
and `thumbnails.bin`, JPEG after JPEG.
"""

import io
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from service.durable import full_disk_is_said
from service.storage.store import Store

HEADER_BYTES = 256
"""Enough for the header of a file of clips; what follows are clips."""
CLIPS, THUMBNAILS = "clips.npy", "thumbnails.bin"


@dataclass(frozen=True)
class ThumbnailPlace:
    """Where a JPEG lies in the thumbnail file."""

    offset: int
    num_bytes: int


class DerivedDraft:
    """The folder of one attempt while it is written; nobody reads it before it is published.

    Use it as a context manager; what was not published at the end is removed.

    Args:
        store: keeps the files when they are complete.
        work: an empty folder below the data folder.
        name: of the folder when it is published.
    """

    def __init__(self, store: Store, work: Path, name: str) -> None:
        self.name = name
        self.num_clips = 0
        self._store, self._work = store, work
        self._clip_shape: tuple[int, ...] | None = None
        self._clips: BinaryIO = (work / CLIPS).open("xb")
        self._thumbnails: BinaryIO = (work / THUMBNAILS).open("xb")

    def __enter__(self) -> Self:
        """Return the open draft."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Remove what was not published."""
        self.discard()

    def add(self, frames: np.ndarray, thumbnail: bytes) -> ThumbnailPlace:
        """Append one clip, uint8 (T, S, S, 3), and its JPEG; constant memory.

        Raises:
            ValueError: the clip differs in shape from the one before, or is not uint8.
            StorageFullError: the disk has no room.
        """
        if frames.dtype != np.uint8 or self._clip_shape not in (None, frames.shape):
            raise ValueError(f"a clip {frames.dtype}{frames.shape} among {self._clip_shape}")
        with full_disk_is_said():
            if self._clip_shape is None:
                self._clip_shape = frames.shape
                self._write_header()
            self._clips.write(np.ascontiguousarray(frames).data)
            offset = self._thumbnails.tell()
            self._thumbnails.write(thumbnail)
        self.num_clips += 1
        return ThumbnailPlace(offset, len(thumbnail))

    def publish(self) -> str:
        """Make both files durable, have them kept, and return the name of their folder.

        Files of that name are replaced: they are of the same attempt, so no row names them.
        """
        with full_disk_is_said():
            self._write_header()
            for file in (self._clips, self._thumbnails):
                file.flush()
                os.fsync(file.fileno())
                file.close()
        for name in (CLIPS, THUMBNAILS):
            self._store.put(f"{self.name}/{name}", self._work / name)
        shutil.rmtree(self._work, ignore_errors=True)
        return self.name

    def discard(self) -> None:
        """Remove the folder, unless it was published."""
        for file in (self._clips, self._thumbnails):
            try:
                file.close()
            except OSError:  # a full disk refuses the last buffer; the file goes anyway
                continue
        shutil.rmtree(self._work, ignore_errors=True)

    def _write_header(self) -> None:
        """Write the header for the clips so far; numpy leaves room for the first axis to grow."""
        self._clips.seek(0)
        header = {
            "descr": "|u1",
            "fortran_order": False,
            "shape": (self.num_clips, *(self._clip_shape or (0, 0, 0, 3))),
        }
        np.lib.format.write_array_header_1_0(self._clips, header)


def read_clip(store: Store, name: str, position: int) -> np.ndarray:
    """Return one clip, uint8 (T, S, S, 3); only its own bytes are read.

    Raises:
        FileNotFoundError: there is no such file.
        IndexError: it has fewer clips.
        ValueError: it is damaged.
    """
    offset, shape = _layout(store, name)
    if not 0 <= position < shape[0]:
        raise IndexError(f"clip {position} of {shape[0]}")
    num_bytes = math.prod(shape[1:])
    found = store.read(name, offset + position * num_bytes, num_bytes, often=True)
    return np.frombuffer(found, np.uint8).reshape(shape[1:])


def count_clips(store: Store, name: str) -> int:
    """Return how many clips a file holds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged.
    """
    offset, shape = _layout(store, name)
    wanted, size_bytes = offset + math.prod(shape), store.size(name)
    if size_bytes != wanted:
        raise ValueError(f"{name} has {size_bytes} bytes instead of {wanted}")
    return shape[0]


def _layout(store: Store, name: str) -> tuple[int, tuple[int, ...]]:
    """Return where the clips begin, and the shape (N, T, S, S, 3) of all of them."""
    header = io.BytesIO(store.read(name, 0, HEADER_BYTES, often=True))
    np.lib.format.read_magic(header)
    shape, _, kind = np.lib.format.read_array_header_1_0(header)
    if kind != np.uint8:
        raise ValueError(f"{name} holds {kind}, no clips")
    return header.tell(), shape
