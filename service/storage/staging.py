"""Files while they are received: on a local disk, whatever keeps them later."""

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from service.durable import full_disk_is_said
from service.errors import PayloadTooLargeError
from service.storage.disk import Disk

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
            path=self.path, sha256=self._digest.hexdigest(), size_bytes=self.size_bytes
        )

    def abort(self) -> None:
        """Remove the file, unless it was finished."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # a full disk may refuse the last buffer
                self._file.close()
            self.path.unlink(missing_ok=True)
