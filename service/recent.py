"""A bounded memory of values that were used lately."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keep the values used last, up to a total cost; safe to use from many threads.

    Args:
        limit: total cost that is kept.
        cost: of one value; by default each counts 1.
    """

    def __init__(self, limit: int, *, cost: Callable[[V], int] = lambda _value: 1) -> None:
        self._limit = limit
        self._cost = cost
        self._total = 0
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return a value if it is still kept."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def newest(self, count: int) -> list[V]:
        """Return the values used last, newest first."""
        with self._lock:
            return list(islice(reversed(self._values.values()), count))

    def put(self, key: K, value: V) -> None:
        """Keep a value, and forget those that were not used for longest."""
        with self._lock:
            if (old := self._values.pop(key, None)) is not None:
                self._total -= self._cost(old)
            self._values[key] = value
            self._total += self._cost(value)
            while self._total > self._limit:
                _, oldest = self._values.popitem(last=False)
                self._total -= self._cost(oldest)
