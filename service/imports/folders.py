"""Files below one folder, and no other: no link leads out of it, also while it is read."""

import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from service.catalog.import_queries import NewItem
from service.errors import InvalidInputError
from service.imports.fetched import Fetched, SourceError

CHUNK_BYTES = 1024 * 1024
MAX_PATH = 1024
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not to be held up by a named pipe."""


def check_folder(text: str) -> str:
    """Return a path below the import folder, as it is kept; `.` is that folder itself.

    Raises:
        InvalidInputError: it is absolute, leads upwards, or is no path.
    """
    path = PurePosixPath(text.strip() or ".")
    if len(text) > MAX_PATH or "\0" in text or path.is_absolute() or ".." in path.parts:
        raise InvalidInputError(
            "The folder must be a path below the import folder, without .. in it.",
            reason="bad_folder",
        )
    return str(path)


class FolderSource:
    """The videos below a folder.

    Args:
        root: the import folder of the settings.
        folder: a checked path below it.
    """

    def __init__(self, root: Path, folder: str) -> None:
        self._root = root
        self._folder = PurePosixPath(folder)

    def list(self, suffixes: Collection[str], limit: int) -> list[NewItem]:
        """Return the videos by their paths below the folder, sorted; one too many at most.

        Raises:
            SourceError: `no_folder`: there is none, or it cannot be read.
        """
        found: list[NewItem] = []
        with _opened(self._root, self._folder) as folder:
            for parent, folders, files, parent_fd in os.fwalk(".", dir_fd=folder):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(files):
                    size_bytes = _size_of(name, parent_fd)
                    path = str(PurePosixPath(parent) / name)
                    is_video = PurePosixPath(name).suffix.lower() in suffixes
                    if size_bytes is None or not is_video or not _is_storable(path):
                        continue
                    found.append(NewItem(source=path, size_bytes=size_bytes))
                    if len(found) > limit:
                        return found
        return found

    @contextmanager
    def open(self, source: str) -> Iterator[Fetched]:
        """Open one of the videos.

        Raises:
            SourceError: `file_gone`: it is not there any more, or is no ordinary file.
        """
        path = self._folder / source
        with _opened(self._root, path.parent) as folder:
            try:
                handle = os.open(path.name, FILE_FLAGS, dir_fd=folder)
            except OSError as error:
                raise _gone() from error
        with os.fdopen(handle, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise _gone()
            chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
            yield Fetched(file_name=path.name, size_bytes=facts.st_size, chunks=chunks)


@contextmanager
def _opened(root: Path, below: PurePosixPath) -> Iterator[int]:
    """Open a folder step by step, so that no part of its path can be a link."""
    handles: list[int] = []
    try:
        # the root itself may be a link: an admin named it
        handles.append(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for part in below.parts:
            handles.append(os.open(part, FOLDER_FLAGS, dir_fd=handles[-1]))
        yield handles[-1]
    except OSError as error:
        raise SourceError(
            "no_folder", f"There is no folder {below} in the import folder.", is_final=True
        ) from error
    finally:
        for handle in handles:
            os.close(handle)


def _size_of(name: str, folder: int) -> int | None:
    try:
        facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return facts.st_size if stat.S_ISREG(facts.st_mode) else None


def _is_storable(path: str) -> bool:
    """Tell whether a database can hold the path: names of files need not be text."""
    return path.isprintable() and len(path) <= MAX_PATH


def _gone() -> SourceError:
    return SourceError("file_gone", "The file is not there any more.", is_final=True)
