"""Writes that survive a power cut: a rename is durable only when its folder was synced."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from service.errors import StorageFullError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durable_folder(folder: Path) -> None:
    """Make a folder below one that exists, and its name durable."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(missing):
        sync_folder(each.parent)


@contextlib.contextmanager
def full_disk_is_said() -> Iterator[None]:
    """Turn the system's error of a full disk into one that a user understands.

    Raises:
        StorageFullError: the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise StorageFullError("The disk is full. Free some space or ask the admin.") from error
