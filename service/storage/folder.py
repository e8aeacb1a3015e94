"""A store that is a folder: one machine, or a file system that several of them share."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from service.durable import full_disk_is_said, make_durable_folder, sync_folder
from service.storage.store import StoredFile


class FolderStore:
    """Files below a folder, by their names.

    Args:
        root: the folder; files that are put lie on the same file system.
    """

    is_remote = False

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, path: Path) -> None:
        """Give a file its place by a rename, and make its name durable."""
        target = self._root / name
        with full_disk_is_said():
            make_durable_folder(target.parent)
            try:
                path.rename(target)
            except FileNotFoundError:
                # a `remove` beside it has just taken away the folder, which was empty
                make_durable_folder(target.parent)
                path.rename(target)
            sync_folder(target.parent)

    def size(self, name: str) -> int | None:
        """Return how many bytes a file has; None if there is none."""
        path = self._root / name
        return path.stat().st_size if path.is_file() else None

    def read(self, name: str, start: int, num_bytes: int, *, often: bool = False) -> bytes:  # noqa: ARG002 (the kernel keeps what is read often)
        """Return a part of a file."""
        with (self._root / name).open("rb") as file:
            file.seek(start)
            return file.read(num_bytes)

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Yield the file itself."""
        path = self._root / name
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}")
        yield path

    def stay(self, name: str, folder: Path) -> Path:  # noqa: ARG002 (the file stays anyway)
        """Return the file itself."""
        return self._root / name

    def remove(self, name: str) -> None:
        """Unlink a file, and the folders that are empty without it."""
        path = self._root / name
        path.unlink(missing_ok=True)
        for folder in path.relative_to(self._root).parents[:-2]:
            with contextlib.suppress(OSError):  # others are in it, or it never was
                (self._root / folder).rmdir()
        sync_folder(next(each for each in path.parents if each.is_dir()))

    def stored(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the files below a folder."""
        for folder, _folders, files in os.walk(self._root / prefix):
            for file in files:
                path = Path(folder, file)
                try:
                    found = path.stat()
                except FileNotFoundError:  # removed while we looked
                    continue
                age_s = max(0.0, time.time() - found.st_mtime)
                yield StoredFile(path.relative_to(self._root).as_posix(), found.st_size, age_s)

    def url(self, name: str, *, ttl_s: int) -> str | None:  # noqa: ARG002 (only the API reads here)
        """Return None: files have no address of their own."""
        return None
