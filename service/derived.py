"""What an ingest leaves beside a video: the clips that re-ranking reads, and the thumbnails.

Shapes: N segments that could be decoded, T frames, S side. Files: `clips.npy` uint8 (N, T, S, S, 3)
and `thumbnails.bin`, JPEG after JPEG.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from service.durable import full_disk_is_said, make_durable_folder, sync_folder

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
        root: the data folder.
        work: an empty folder on the same file system.
        name: where it will be published, relative to `root`.
    """

    def __init__(self, root: Path, work: Path, name: str) -> None:
        self.name = name
        self.num_clips = 0
        self._root, self._work = root, work
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
        """Make both files durable, give the folder its name, and return it (relative).

        An earlier folder of that name is replaced: it is of the same attempt, so no row names it.
        """
        with full_disk_is_said():
            self._write_header()
            for file in (self._clips, self._thumbnails):
                file.flush()
                os.fsync(file.fileno())
                file.close()
            sync_folder(self._work)
            target = self._root / self.name
            make_durable_folder(target.parent)
            shutil.rmtree(target, ignore_errors=True)
            self._work.rename(target)
            sync_folder(target.parent)
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


def read_clip(folder: Path, position: int) -> np.ndarray:
    """Return one clip, uint8 (T, S, S, 3); only its own bytes are read."""
    return np.array(map_clips(folder)[position])


def map_clips(folder: Path) -> np.ndarray:
    """Return all clips, uint8 (N, T, S, S, 3), without reading them yet."""
    clips: np.ndarray = np.load(folder / CLIPS, mmap_mode="r", allow_pickle=False)
    return clips


def read_thumbnail(folder: Path, place: ThumbnailPlace) -> bytes:
    """Return one JPEG."""
    with (folder / THUMBNAILS).open("rb") as file:
        file.seek(place.offset)
        return file.read(place.num_bytes)


def count_clips(folder: Path) -> int:
    """Return how many clips a published folder holds."""
    return len(map_clips(folder))
