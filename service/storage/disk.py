"""The disk below the data folder."""

import shutil
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
