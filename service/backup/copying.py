"""Copies that are whole or not there, and whose content is known."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.durable import full_disk_is_said, make_durable_folder, sync_folder
from service.storage.store import Store

WINDOW_BYTES = 8 * 1024 * 1024
DRAFT = ".draft"


def write_durably(target: Path, content: bytes | Iterable[bytes]) -> tuple[int, str]:
    """Write a file, give it its name when it is durable, and return its size and SHA-256.

    Raises:
        StorageFullError: the disk is full.
    """
    digest, size_bytes = hashlib.sha256(), 0
    draft = target.with_name(f"{target.name}{DRAFT}")
    with full_disk_is_said():
        make_durable_folder(target.parent)
        with draft.open("wb") as file:
            for window in (content,) if isinstance(content, bytes) else content:
                digest.update(window)
                size_bytes += len(window)
                file.write(window)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(target)
        sync_folder(target.parent)
    return size_bytes, digest.hexdigest()


def read_stored(store: Store, name: str) -> Iterator[bytes]:
    """Yield the content of a stored file in windows.

    Raises:
        FileNotFoundError: there is none.
    """
    start = 0
    while window := store.read(name, start, WINDOW_BYTES):
        yield window
        start += len(window)


def read_file(path: Path) -> Iterator[bytes]:
    """Yield the content of a file in windows."""
    with path.open("rb") as file:
        while window := file.read(WINDOW_BYTES):
            yield window


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    for window in read_file(path):
        digest.update(window)
    return digest.hexdigest()


def remove_drafts(folder: Path) -> None:
    """Remove what a copy left behind that was killed."""
    for path in folder.rglob(f"*{DRAFT}"):
        path.unlink(missing_ok=True)
