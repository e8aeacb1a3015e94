"""Files while they are received: on a local disk, whatever keeps them later."""

import contextlib
import fcntl
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Self

from service.durable import full_disk_is_said
from service.errors import PayloadTooLargeError
from service.storage.disk import Disk

CHECK_SPACE_EVERY = 16 * 1024 * 1024


class Hold:
    """Tells every process that a staging file is in use, until this one lets go of it or dies.

    Its age alone would not do: a clock that is set ahead makes every file old.

    Args:
        file: the open file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor: int | None = os.dup(file.fileno())
        fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def release(self) -> None:
        """Let go of it; harmless if that was done."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __del__(self) -> None:
        """Let go of a file that was forgotten."""
        self.release()


def is_held(path: Path) -> bool:
    """Tell whether a process uses a staging file; a folder is never held."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@dataclass(frozen=True, kw_only=True)
class StagedFile:
    """A complete, durable file that no row names yet."""

    path: Path
    sha256: str
    size_bytes: int
    hold: Hold | None = field(default=None, repr=False, compare=False)

    def discard(self) -> None:
        """Remove it, if it was not published."""
        self.path.unlink(missing_ok=True)
        if self.hold is not None:
            self.hold.release()


class Staging:
    """A file that is being received: hashed while it is written, removed unless it is finished.

    Use it as a context manager; what was not finished at the end is removed.

    Args:
        path: where it will be; there is nothing yet.
        disk: checked for space now and then.
        limit_bytes: largest file accepted.
    """

    def __init__(self, path: Path, disk: Disk, *, limit_bytes: int) -> None:
        self.path = path
        self.size_bytes = 0
        self._disk, self._limit_bytes = disk, limit_bytes
        self._digest = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")
        self._hold = Hold(self._file)
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
        if size_bytes > self._limit_bytes:
            self.abort()
            raise PayloadTooLargeError(
                f"The file is larger than the limit of {self._limit_bytes} bytes."
            )
        if size_bytes > self._next_check:
            self._disk.check_space(len(chunk))
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
            path=self.path,
            sha256=self._digest.hexdigest(),
            size_bytes=self.size_bytes,
            hold=self._hold,
        )

    def abort(self) -> None:
        """Remove the file, unless it was finished."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # a full disk may refuse the last buffer
                self._file.close()
            self.path.unlink(missing_ok=True)
            self._hold.release()
