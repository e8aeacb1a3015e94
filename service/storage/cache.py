"""Copies of stored files on this machine: those used last, within a limit.

Any number of processes share the folder. Who uses a copy holds a lock on it, which the kernel takes
back when the process dies, so copies in use are never removed and killed processes leave no pins.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from service.durable import full_disk_is_said

WHOLE = "whole"
DRAFT, LOCK = "~draft", "~lock"
KEPT_S = 7 * 86400.0
"""Copies that nobody has used for so long go, whatever the limit: their file may be deleted."""
SHARE_BETWEEN_LOOKS = 1 / 16
"""How much of the limit a process may add before it looks how much there is."""

Fetch = Callable[[BinaryIO], None]


class _Copy(NamedTuple):
    used_at: float
    size_bytes: int
    path: Path


class Cache:
    """Copies in a folder.

    Args:
        folder: on a local disk; made if it is missing.
        limit_bytes: what all copies take together, roughly: those in use may exceed it.
    """

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._step_bytes = max(1, int(limit_bytes * SHARE_BETWEEN_LOOKS))
        self._added = self._step_bytes  # the first copy of a process makes it look
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def hold(self, name: str, fetch: Fetch, *, part: str = WHOLE) -> Iterator[Path]:
        """Yield a copy that stays while the context lasts.

        Args:
            name: of the stored file.
            fetch: writes the bytes, if there is no copy yet.
            part: which part of the file; what is fetched must depend on both names only.
        """
        path = self._path(name, part)
        descriptor = _open_copy(path)
        if descriptor is None:
            descriptor = self._make_copy(path, fetch)
        try:
            os.utime(descriptor)
            yield path
        finally:
            os.close(descriptor)

    def forget(self, name: str) -> None:
        """Remove the copies of a file that nobody uses just now."""
        path = self._path(name, WHOLE)
        for each in path.parent.glob(f"{path.name.partition('-')[0]}-*"):
            _unlink_unused(each)

    def make_room(self, num_bytes: int) -> None:
        """Remove the copies that were used least recently until so much fits into the limit."""
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context((self._folder / "lock").open("wb"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # another process does it
            copies = sorted(self._copies())
            total = sum(copy.size_bytes for copy in copies) + num_bytes
            old = time.time() - KEPT_S
            for copy in copies:
                if total <= self._limit_bytes - self._step_bytes and copy.used_at > old:
                    break
                if _unlink_unused(copy.path):
                    total -= copy.size_bytes
        self._added = 0

    def _make_copy(self, path: Path, fetch: Fetch) -> int:
        """Fetch a file unless another one has done it meanwhile, and return the copy, pinned."""
        path.parent.mkdir(exist_ok=True)
        with _locked(Path(f"{path}{LOCK}")):
            descriptor = _open_copy(path)
            if descriptor is not None:
                return descriptor
            descriptor = _fill(Path(f"{path}{DRAFT}"), fetch)
            Path(f"{path}{DRAFT}").rename(path)
        self._added += os.fstat(descriptor).st_size
        if self._added >= self._step_bytes:
            self.make_room(0)
        return descriptor

    def _path(self, name: str, part: str) -> Path:
        digest = hashlib.sha256(name.encode()).hexdigest()[:40]
        return self._folder / digest[:2] / f"{digest}-{part}"

    def _copies(self) -> Iterator[_Copy]:
        for path in self._folder.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                yield _Copy(found.st_mtime, found.st_size, path)


def _open_copy(path: Path) -> int | None:
    """Open and pin a copy; None if there is none."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # removed before the lock was ours


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that has a file of its own, which goes with it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_at(descriptor, path):
            break
        os.close(descriptor)  # the one who had it removed it
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _fill(draft: Path, fetch: Fetch) -> int:
    """Write a draft, durably, and return it pinned."""
    while True:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_at(descriptor, draft):
            break
        os.close(descriptor)  # one that a killed process had left, just removed
    try:
        with full_disk_is_said(), os.fdopen(descriptor, "wb", closefd=False) as file:
            fetch(file)
            file.flush()
            # else a power cut could leave a copy with the right name and size, full of zeros
            os.fdatasync(descriptor)
    except BaseException:
        draft.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _unlink_unused(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, path):
            path.unlink()
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
