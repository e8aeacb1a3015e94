"""The disk below the data folder."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from service.errors import StorageFullError


@dataclass
class Disk:
    """How much may still be written.

    Attributes:
        root: a folder on it.
        reserve_bytes: free disk that is kept free.
    """

    root: Path
    reserve_bytes: int = 0

    def free_bytes(self) -> int:
        """Return how much may still be written."""
        return max(0, shutil.disk_usage(self.root).free - self.reserve_bytes)

    def check_space(self, num_bytes: int) -> None:
        """Raise StorageFullError if the disk has no room for so much more."""
        if num_bytes > self.free_bytes():
            raise StorageFullError("The disk has no room for it. Free some space or ask the admin.")


def age_s(path: Path) -> float:
    """Return how long ago a file, or anything in a folder, was changed; 0 if it is gone."""
    newest = 0.0
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        try:
            newest = max(newest, each.stat().st_mtime)
        except FileNotFoundError:
            return 0.0
    return max(0.0, time.time() - newest)
