"""What keeps complete files by name: a folder, or a bucket of an object store."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol


class StoredFile(NamedTuple):
    """A file that is kept.

    Attributes:
        name: as it was put.
        size_bytes: its size.
        age_s: for how long it has been there, by the clock of the store.
    """

    name: str
    size_bytes: int
    age_s: float


class Store(Protocol):
    """Files that are complete and durable, or not there at all.

    Every method raises StorageUnavailableError if the store is away; `read` and `local` raise
    FileNotFoundError if it has no such file.

    Attributes:
        is_remote: whether putting a file takes as long as a network needs for it.
    """

    is_remote: bool

    def put(self, name: str, path: Path) -> None:
        """Keep a complete, durable local file; one of that name is replaced.

        `path` may be gone afterwards; it lies on the file system of the data folder.

        Raises:
            StorageFullError: there is no room for it.
        """

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""

    def read(self, name: str, start: int, num_bytes: int, *, often: bool = False) -> bytes:
        """Return a part of a file: fewer bytes where it ends, none behind its end.

        Args:
            name: of the file.
            start: offset of the first byte.
            num_bytes: how many.
            often: the same part will be asked for again.
        """

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Return where the whole file can be read on this machine, inside of the context.

        Raises:
            StorageFullError: this machine has no room for it.
        """

    def stay(self, name: str, folder: Path) -> Path:
        """Return where the whole file can be read for as long as a folder is there.

        Nothing is there if there is no such file.

        Raises:
            StorageFullError: this machine has no room for it.
        """

    def remove(self, name: str) -> None:
        """Remove a file; harmless if there is none."""

    def stored(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the files whose names begin so; a prefix ends with a slash."""

    def url(self, name: str, *, ttl_s: int) -> str | None:
        """Return an address at which anybody may read the file for so long, if there is one."""
