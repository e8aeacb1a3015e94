"""How much memory each process holds, over time."""

import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Self

import numpy as np
import psutil

EVERY_S = 2.0
MIB = 1024 * 1024


@dataclass(frozen=True)
class Course:
    """The memory of one process.

    Attributes:
        first_mib: at the first look.
        last_mib: at the last one.
        peak_mib: the most that was seen.
        slope_mib_per_min: of a line through the second half.
    """

    first_mib: float
    last_mib: float
    peak_mib: float
    slope_mib_per_min: float


class Memory:
    """Looks at all processes below this one; use it as a context manager."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._ends.set()
        self._thread.join()

    def courses(self) -> dict[str, Course]:
        """Return what was seen of each process that was there for most of the time."""
        longest = max((len(seen) for seen in self._seen.values()), default=0)
        return {
            f"{role} {pid}": _course(seen)
            for (role, pid), seen in sorted(self._seen.items())
            if len(seen) > longest / 2
        }

    def _run(self) -> None:
        while not self._ends.wait(EVERY_S):
            now = time.monotonic()
            for process in psutil.Process().children(recursive=True):
                try:
                    role = _role_of(" ".join(process.cmdline()))
                    resident = process.memory_info().rss / MIB
                except psutil.Error:  # it has ended
                    continue
                self._seen[role, process.pid].append((now, resident))


def _role_of(command: str) -> str:
    if "service.cli api" in command:
        return "api"
    if "model.video" in command:
        return "decoder"
    return "tuner" if "tuner@" in command else "worker"


def _course(seen: list[tuple[float, float]]) -> Course:
    late = np.array(seen[len(seen) // 2 :])
    minutes = (late[:, 0] - late[0, 0]) / 60
    slope = float(np.polyfit(minutes, late[:, 1], 1)[0]) if len(late) > 1 else 0.0
    sizes = [size for _, size in seen]
    return Course(sizes[0], sizes[-1], max(sizes), slope)
