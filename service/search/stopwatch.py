"""Where the time of a search, or of an ingest, goes."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from service import tracing

T = TypeVar("T")


class Stopwatch:
    """Add up the time that the stages of some work take."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._spent_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as that of a stage, which a trace shows."""
        with tracing.span(f"stage {name}"), self.counted(name):
            yield

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        """Count the time inside as part of a stage that comes in many small pieces."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent_s[name] = self._spent_s.get(name, 0.0) + time.monotonic() - began

    def waiting(self, name: str, things: Iterable[T]) -> Iterator[T]:
        """Yield them, and count the time that each is waited for as that of a stage."""
        source = iter(things)
        while True:
            with self.counted(name):
                try:
                    thing = next(source)
                except StopIteration:
                    return
            yield thing

    def timings_ms(self) -> dict[str, float]:
        """Return the time by stage, the rest as `other`, and the total, milliseconds."""
        total_s = time.monotonic() - self.began
        spent = {**self._spent_s, "other": total_s - sum(self._spent_s.values()), "total": total_s}
        return {name: round(seconds * 1000, 3) for name, seconds in spent.items()}
