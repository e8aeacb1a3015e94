"""A store that is a bucket of an S3-compatible object store.

Requests that fail are repeated: by the client for a moment, then here, until some time has passed.
All of them may be: a file is put whole under a name that is never used for other content.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, TypeVar

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from service.errors import StorageFullError, StorageUnavailableError
from service.storage.cache import Cache
from service.storage.disk import Disk
from service.storage.store import StoredFile

T = TypeVar("T")
MIB = 1024 * 1024
PIECE_BYTES, PIECES_AT_ONCE, MAX_PIECES = 16 * MIB, 4, 9000
"""Of a multipart upload; S3 takes 10,000 pieces at most."""
WINDOW_BYTES = 8 * MIB
"""Read in one request: what a broken connection loses, and what is kept in memory."""
INSIST_S, WAIT_S, LONGEST_WAIT_S = 10.0, 0.2, 2.0
HURRY_S = 1.0
"""Clips and thumbnails are asked for while somebody waits, and can be done without."""
AWAY_S = 5.0
"""After a failure nobody insists for so long: threads must not pile up before a dead store."""
RETRY_AFTER_S = 5
NAMES_AT_ONCE = 1000
CLOCK = "clock"
BEHIND_THE_END = "416 Range Not Satisfiable"

log = structlog.get_logger(__name__)


class BucketStore:
    """Objects of a bucket, with copies on this machine.

    Args:
        objects: the bucket, and a prefix in it.
        cache: the copies.
        disk: where the copies lie.
        public: the bucket by the address at which browsers reach it, if they may.
        insist_s: how long a request that fails is repeated.
    """

    is_remote = True

    def __init__(
        self,
        objects: S3Store,
        cache: Cache,
        disk: Disk,
        *,
        public: S3Store | None = None,
        insist_s: float = INSIST_S,
    ) -> None:
        self._objects, self._public = objects, public
        self._cache, self._disk = cache, disk
        self._insist_s = insist_s
        self._away_until = 0.0  # time.monotonic()

    def put(self, name: str, path: Path) -> None:
        """Upload a file, in pieces if it is large, and check that all of it came."""
        size_bytes = path.stat().st_size
        piece_bytes = max(PIECE_BYTES, math.ceil(size_bytes / MAX_PIECES))

        def upload() -> None:
            self._objects.put(name, path, chunk_size=piece_bytes, max_concurrency=PIECES_AT_ONCE)
            if (kept := self._objects.head(name)["size"]) != size_bytes:
                raise OSError(f"{kept} of {size_bytes} bytes were kept")

        self._insist(upload)

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""
        try:
            return self._insist(lambda: self._objects.head(name)["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str, start: int, num_bytes: int, *, often: bool = False) -> bytes:
        """Return a part of a file; the copy of a part that is read often is kept."""
        if num_bytes <= 0:
            return b""
        if not often:
            return self._read(name, start, num_bytes)

        def fetch(file: BinaryIO) -> None:
            file.write(self._read(name, start, num_bytes, hurry=True))

        try:
            with self._cache.hold(name, fetch, part=f"{start}-{num_bytes}") as path:
                return path.read_bytes()
        except StorageFullError:  # no room for a copy
            return self._read(name, start, num_bytes)

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Return a copy of the whole file, which stays inside of the context."""
        return self._cache.hold(name, lambda file: self._fetch(name, file))

    def stay(self, name: str, folder: Path) -> Path:
        """Link a copy into a folder, so that it stays when the cache drops its own."""
        target = folder / name.replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError, FileExistsError), self.local(name) as path:
            target.hardlink_to(path)
        return target

    def remove(self, name: str) -> None:
        """Remove an object, and this machine's copies of it."""
        self._insist(lambda: self._objects.delete(name))
        self._cache.forget(name)

    def stored(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the objects whose names begin so, a request for each thousand."""
        now = self._now()
        last: str | None = None
        while page := self._insist(lambda: self._page(prefix, last)):  # noqa: B023 (called at once)
            for name, size_bytes, changed_at in page:
                age_s = max(0.0, (now - changed_at).total_seconds())
                yield StoredFile(name, size_bytes, age_s)
            last = page[-1][0]

    def url(self, name: str, *, ttl_s: int) -> str | None:
        """Return a signed address, if browsers may read from the store itself."""
        if self._public is None:
            return None
        return obstore.sign(self._public, "GET", name, timedelta(seconds=ttl_s))

    def _read(self, name: str, start: int, num_bytes: int, *, hurry: bool = False) -> bytes:
        def read() -> bytes:
            try:
                return bytes(self._objects.get_range(name, start=start, length=num_bytes))
            except BaseError as error:
                if BEHIND_THE_END in str(error):  # the client has no error of its own for it
                    return b""
                raise

        return self._insist(read, HURRY_S if hurry else self._insist_s)

    def _fetch(self, name: str, file: BinaryIO) -> None:
        size_bytes = self.size(name)
        if size_bytes is None:
            raise FileNotFoundError(f"there is no object {name}")
        if size_bytes > self._disk.free_bytes():
            self._cache.make_room(size_bytes)
        self._disk.check_space(size_bytes)
        for start in range(0, size_bytes, WINDOW_BYTES):
            window = self._read(name, start, min(WINDOW_BYTES, size_bytes - start))
            file.write(window)

    def _now(self) -> datetime:
        """Return what time it is by the clock of the store, by which it dates its objects."""
        self._insist(lambda: self._objects.put(CLOCK, b"tick"))
        now: datetime = self._insist(lambda: self._objects.head(CLOCK)["last_modified"])
        return now.astimezone(UTC)

    def _page(self, prefix: str, after: str | None) -> list[tuple[str, int, datetime]]:
        pages = self._objects.list(prefix, offset=after, chunk_size=NAMES_AT_ONCE)
        return [(found["path"], found["size"], found["last_modified"]) for found in next(pages, ())]

    def _insist(self, what: Callable[[], T], for_s: float | None = None) -> T:
        """Do something that may be repeated, until it succeeds or has failed for long.

        Raises:
            FileNotFoundError: there is no such object.
            StorageUnavailableError: the store is away, or refuses us.
        """
        began, wait_s = time.monotonic(), WAIT_S
        patience_s = self._insist_s if for_s is None else for_s
        if began < self._away_until:
            patience_s = 0.0
        while True:
            try:
                done = what()
            except FileNotFoundError:
                raise
            except (PermissionDeniedError, UnauthenticatedError) as error:
                log.warning("object_store_refuses", error=_first_line(error))
                raise _unavailable("refuses the key it was given") from error
            except (BaseError, OSError) as error:
                if time.monotonic() + wait_s - began > patience_s:
                    self._away_until = time.monotonic() + AWAY_S
                    log.warning("object_store_away", error=_first_line(error))
                    raise _unavailable("does not answer as it should") from error
                log.warning("object_store_failed", error=_first_line(error))
            else:
                self._away_until = 0.0
                return done
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _unavailable(what: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"The object store {what}; nothing was lost. Try again in a while, or ask the admin.",
        retry_after_s=RETRY_AFTER_S,
    )


def _first_line(error: Exception) -> str:
    """Return what went wrong without the client's own debugging, which is pages long."""
    return str(error).partition("\n")[0][:300]
