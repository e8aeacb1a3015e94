"""Files below the data folder. A file is durable before the row that names it is committed.

Layout: `staging/` what is being written; `blobs/ab/cdef...` uploaded files by SHA-256, without an
extension (decoders choose formats by it); `derived/<video>/<job>-<fence>/` clips and thumbnails;
`uploads/<upload>/<offset>` pieces of uploads that go on later.
"""

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self
from uuid import UUID, uuid4

import numpy as np

from service import derived
from service.derived import DerivedDraft, ThumbnailPlace
from service.durable import full_disk_is_said, make_durable_folder, sync_file, sync_folder
from service.errors import NotFoundError, PayloadTooLargeError, StorageFullError

SHA256_HEX = re.compile(r"[0-9a-f]{64}")
PART_NAME = re.compile(r"[0-9a-f-]{36}/\d{1,18}")
PART_CHUNK = 1024 * 1024
DERIVED_NAME = re.compile(r"derived/[0-9a-f-]{36}/[0-9a-f-]{36}-\d+")
TUNINGS = "tunings"
CHECK_SPACE_EVERY = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A complete, durable file that no row names yet."""

    path: Path
    sha256: str
    size_bytes: int

    def discard(self) -> None:
        """Remove it, if it was not published."""
        self.path.unlink(missing_ok=True)


class Staging:
    """A file that is being received: hashed while it is written, removed unless it is finished.

    Use it as a context manager; what was not finished at the end is removed.
    """

    def __init__(self, storage: "Storage", path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._storage = storage
        self._digest = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")
        self._next_check = 0

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Remove what was not finished."""
        self.abort()

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            PayloadTooLargeError: more than the limit.
            StorageFullError: the disk has no room for them.
        """
        size_bytes = self.size_bytes + len(chunk)
        if size_bytes > self._storage.limit_bytes:
            self.abort()
            raise PayloadTooLargeError(
                f"The file is larger than the limit of {self._storage.limit_bytes} bytes."
            )
        if size_bytes > self._next_check:
            self._storage.check_space(len(chunk))
            self._next_check = size_bytes + CHECK_SPACE_EVERY
        with full_disk_is_said():
            self._file.write(chunk)
        self._digest.update(chunk)
        self.size_bytes = size_bytes

    def finish(self) -> StagedFile:
        """Make the file durable and return its digest; `Storage.publish` gives it its place.

        A failed fsync is a failed upload: the kernel may have dropped the pages, and a second
        fsync on the same descriptor would succeed without them.
        """
        with full_disk_is_said(), self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        return StagedFile(
            path=self.path, sha256=self._digest.hexdigest(), size_bytes=self.size_bytes
        )

    def abort(self) -> None:
        """Remove the file, unless it was finished."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # a full disk may refuse the last buffer
                self._file.close()
            self.path.unlink(missing_ok=True)


class Storage:
    """The files of one installation.

    Args:
        root: the data folder.
        limit_bytes: largest file accepted.
        reserve_bytes: free disk that is kept free.
    """

    def __init__(self, root: Path, *, limit_bytes: int, reserve_bytes: int = 0) -> None:
        self.root = root
        self.limit_bytes = limit_bytes
        self.reserve_bytes = reserve_bytes
        self.staging, self.blobs = root / "staging", root / "blobs"
        for folder in (self.staging, self.blobs, root / "derived", root / "snapshots"):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def snapshots(self) -> Path:
        """Where snapshots of replicas lie."""
        return self.root / "snapshots"

    def tuning_folder(self, tuning_id: UUID) -> Path:
        """Return where a tuning run works, or would."""
        return self.root / TUNINGS / str(tuning_id)

    def tunings_on_disk(self) -> Iterator[tuple[UUID, Path]]:
        """Yield the id and the folder of every tuning run that has one."""
        for path in (self.root / TUNINGS).glob("*"):
            with contextlib.suppress(ValueError):
                yield UUID(path.name), path

    def free_bytes(self) -> int:
        """Return how much may still be written."""
        return max(0, shutil.disk_usage(self.root).free - self.reserve_bytes)

    def check_space(self, num_bytes: int) -> None:
        """Raise StorageFullError if the disk has no room for so much more."""
        if num_bytes > self.free_bytes():
            raise StorageFullError("The disk has no room for it. Free some space or ask the admin.")

    def open_staging(self, expected_bytes: int | None = None) -> Staging:
        """Begin to receive a file.

        Args:
            expected_bytes: its size if the sender says so; checked before the first byte.

        Raises:
            PayloadTooLargeError: more than the limit was announced.
            StorageFullError: the disk has no room for it.
        """
        if expected_bytes is not None and expected_bytes > self.limit_bytes:
            raise PayloadTooLargeError(
                f"The file is larger than the limit of {self.limit_bytes} bytes."
            )
        self.check_space(expected_bytes or 1)
        return Staging(self, self.staging / f"upload-{uuid4().hex}")

    def blob_path(self, sha256: str) -> Path:
        """Return where the file with this content lies, or would."""
        if not SHA256_HEX.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no SHA-256")
        return self.blobs / sha256[:2] / sha256[2:]

    def publish(self, staged: StagedFile) -> Path:
        """Give a finished file its place, by its content; harmless if it has one.

        Call it inside the transaction that has locked the row of the blob: the sweeper unlinks
        only under that lock.
        """
        path = self.blob_path(staged.sha256)
        if path.is_file() and path.stat().st_size == staged.size_bytes:
            return path
        make_durable_folder(path.parent)
        with full_disk_is_said():
            staged.path.rename(path)
            sync_folder(path.parent)
        return path

    def remove_blob(self, sha256: str) -> None:
        """Unlink a file; call it with the row of the blob locked."""
        path = self.blob_path(sha256)
        path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_folder(path.parent)

    def put_part(self, name: str, path: Path) -> None:
        """Keep a piece of an upload where every process can read it; durable when this returns.

        A piece of the same name is replaced.

        Args:
            name: `<upload id>/<offset of its first byte>`.
            path: a file of `staging`; it is gone afterwards.

        Raises:
            StorageFullError: the disk is full.
        """
        target = self._part_path(name)
        with full_disk_is_said():
            sync_file(path)
            make_durable_folder(target.parent)
            path.rename(target)
            sync_folder(target.parent)

    def read_part(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a piece, at most 1 MiB at a time.

        Raises:
            NotFoundError: there is no such piece.
        """
        try:
            with self._part_path(name).open("rb") as file:
                while chunk := file.read(PART_CHUNK):
                    yield chunk
        except FileNotFoundError as error:
            raise NotFoundError("A piece of this upload is gone. Upload the file again.") from error

    def remove_part(self, name: str) -> None:
        """Remove a piece; harmless if it is gone."""
        path = self._part_path(name)
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other pieces are in it, or it never was
            path.parent.rmdir()

    def _part_path(self, name: str) -> Path:
        if not PART_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no piece of an upload")
        return self.root / "uploads" / name

    def open_derived(self, video_id: UUID, job_id: UUID, fence: int) -> DerivedDraft:
        """Begin the folder of clips and thumbnails that one attempt of a job makes."""
        work = self.staging / work_name(job_id, fence)
        shutil.rmtree(work, ignore_errors=True)  # the same attempt, begun again
        work.mkdir()
        return DerivedDraft(self.root, work, f"derived/{video_id}/{job_id}-{fence}")

    def derived_folder(self, name: str) -> Path:
        """Return the folder that a video's `derived` names."""
        if not DERIVED_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no folder of clips and thumbnails")
        return self.root / name

    def read_clip(self, name: str, position: int) -> np.ndarray:
        """Return the stored clip of a segment, uint8 (T, S, S, 3).

        Args:
            name: `derived` of its video.
            position: `position` of the segment.

        Raises:
            NotFoundError: the folder is gone, as after a delete.
        """
        with _missing_is_said():
            return derived.read_clip(self.derived_folder(name), position)

    def read_thumbnail(self, name: str, offset: int, num_bytes: int) -> bytes:
        """Return the JPEG of a segment.

        Raises:
            NotFoundError: the folder is gone, as after a delete.
        """
        with _missing_is_said():
            return derived.read_thumbnail(
                self.derived_folder(name), ThumbnailPlace(offset, num_bytes)
            )

    def blobs_on_disk(self) -> Iterator[tuple[str, Path]]:
        """Yield the digest and path of every uploaded file."""
        for path in self.blobs.glob("??/*"):
            yield path.parent.name + path.name, path

    def derived_on_disk(self) -> Iterator[tuple[str, Path]]:
        """Yield the name and path of every folder of clips and thumbnails."""
        for path in (self.root / "derived").glob("*/*"):
            yield path.relative_to(self.root).as_posix(), path

    def stale_staging(self, *, older_than_s: float, keep: Collection[str]) -> Iterator[Path]:
        """Yield what was being written and has not been touched for long.

        Args:
            older_than_s: age in seconds.
            keep: names (`work_name`) that belong to running jobs.
        """
        for path in self.staging.iterdir():
            if path.name not in keep and age_s(path) > older_than_s:
                yield path

    def remove_derived(self, path: Path) -> None:
        """Remove a folder of clips and thumbnails, and that of its video when it is empty."""
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are in it
            path.parent.rmdir()


def work_name(job_id: UUID, fence: int) -> str:
    """Return the name of the folder in which an attempt of a job works."""
    return f"work-{job_id}-{fence}"


def age_s(path: Path) -> float:
    """Return how long ago a file, or anything in a folder, was changed; 0 if it is gone."""
    newest = 0.0
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        try:
            newest = max(newest, each.stat().st_mtime)
        except FileNotFoundError:
            return 0.0
    return max(0.0, time.time() - newest)


@contextlib.contextmanager
def _missing_is_said() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError("The clips and thumbnails of this video are gone.") from error
