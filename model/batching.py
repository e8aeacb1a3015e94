"""Requests from many threads become one forward pass."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from model.memory import give_back_everything, is_out_of_memory

GROW_AFTER = 100

In = TypeVar("In")
Out = TypeVar("Out")


class BatcherFullError(RuntimeError):
    """More requests wait than the batcher may hold; the caller should slow down or refuse."""


class BatcherClosedError(RuntimeError):
    """The batcher takes no more requests."""


@dataclass(frozen=True, kw_only=True)
class BatchFacts:
    """What is told of one pass, for metrics.

    Attributes:
        size: requests in it.
        depth: requests that still waited when it began.
        waited_s: how long its oldest request had waited, seconds.
        took_s: how long the pass took, splits included, seconds.
    """

    size: int
    depth: int
    waited_s: float
    took_s: float


@dataclass(frozen=True)
class _Waiting(Generic[In, Out]):
    item: In
    future: Future[Out] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[In, Out]):
    """Run a function over batches of requests that come from many threads.

    One thread of its own runs the passes, one at a time; while a pass runs the next
    batch gathers. A batch starts when it is full, or when its oldest request has waited
    `max_wait_ms`, or at once if no other request came lately: then waiting would not pay.
    A request whose future is cancelled before its pass is left out of it.

    If a pass fails its batch is halved and tried again, so that in the end only the
    requests that fail alone get the error. If it fails because memory does not suffice,
    the batches that follow are smaller, too; they grow again by a quarter whenever
    `grow_after` passes of that size went well.

    Args:
        run: maps requests to as many answers, in order.
        max_batch: requests in one pass at most.
        max_wait_ms: longest time that a request waits for others while the thread is free.
        max_queue: requests that wait at most; one more raises BatcherFullError.
        name: of the thread.
        on_batch: told of each pass before its answers are given; must be quick.
        on_limit: told how many requests one pass takes from now on, when that changes.
        grow_after: passes.

    Raises:
        ValueError: a bound is not positive.
    """

    def __init__(
        self,
        run: Callable[[list[In]], Sequence[Out]],
        *,
        max_batch: int,
        max_wait_ms: float,
        max_queue: int,
        name: str = "batcher",
        on_batch: Callable[[BatchFacts], None] | None = None,
        on_limit: Callable[[int], None] | None = None,
        grow_after: int = GROW_AFTER,
    ) -> None:
        if max_batch < 1 or max_queue < 1 or max_wait_ms < 0:
            raise ValueError(f"bounds {max_batch=} {max_queue=} {max_wait_ms=} must be positive")
        self._run = run
        self._max_batch = max_batch
        self._max_wait_s = max_wait_ms / 1000
        self._max_queue = max_queue
        self._on_batch = on_batch
        self._on_limit = on_limit
        self._grow_after = grow_after
        self._limit = max_batch
        self._num_well = 0
        self.num_out_of_memory = 0
        self._queue: deque[_Waiting[In, Out]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._came_last = -float("inf")
        self._is_busy = False  # requests came so close together that waiting for more pays
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    @property
    def limit(self) -> int:
        """Requests that one pass takes at most now."""
        return self._limit

    @property
    def depth(self) -> int:
        """Requests that wait for a pass now."""
        return len(self._queue)

    def submit(self, item: In) -> Future[Out]:
        """Ask for one answer; see `submit_many`."""
        return self.submit_many([item])[0]

    def submit_many(self, items: Sequence[In]) -> list[Future[Out]]:
        """Ask for several answers; either all requests are taken or none.

        Raises:
            BatcherFullError: more than `max_queue` requests would wait.
            BatcherClosedError: `close` was called.
        """
        waiting: list[_Waiting[In, Out]] = [_Waiting(item) for item in items]
        with self._changed:
            if self._is_closed:
                raise BatcherClosedError("the batcher is closed")
            if len(self._queue) + len(waiting) > self._max_queue:
                self._drop_cancelled()
            if len(self._queue) + len(waiting) > self._max_queue:
                raise BatcherFullError(f"{len(self._queue)} of {self._max_queue} requests wait")
            now = time.monotonic()
            self._is_busy = now - self._came_last <= self._max_wait_s
            self._came_last = now
            self._queue.extend(waiting)
            self._changed.notify()
        return [request.future for request in waiting]

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests and wait for the thread to end; may be called again.

        Args:
            drain: answer the requests that wait; else they are cancelled.
        """
        with self._changed:
            self._is_closed = True
            if not drain:
                for request in self._queue:
                    request.future.cancel()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "Batcher[In, Out]":
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close, after the requests that wait."""
        self.close()

    def _drop_cancelled(self) -> None:
        self._queue = deque(r for r in self._queue if not r.future.cancelled())

    def _loop(self) -> None:
        while (batch := self._next_batch()) is not None:
            running = [r for r in batch if r.future.set_running_or_notify_cancel()]
            if running:
                self._answer(running)

    def _next_batch(self) -> list[_Waiting[In, Out]] | None:
        """Wait for requests; None when there will be no more."""
        with self._changed:
            while not self._queue:
                if self._is_closed:
                    return None
                self._changed.wait()
            start_by = self._queue[0].since + self._max_wait_s
            while self._is_worth_waiting():
                left_s = start_by - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            size = min(self._limit, len(self._queue))
            return [self._queue.popleft() for _ in range(size)]

    def _is_worth_waiting(self) -> bool:
        return self._is_busy and len(self._queue) < self._limit and not self._is_closed

    def _answer(self, batch: list[_Waiting[In, Out]]) -> None:
        """Run one pass and settle every future of it, whatever happens."""
        began = time.monotonic()
        depth = self.depth
        try:
            answers = self._run_or_split([request.item for request in batch])
            if self._on_batch is not None:
                self._on_batch(
                    BatchFacts(
                        size=len(batch),
                        depth=depth,
                        waited_s=began - batch[0].since,
                        took_s=time.monotonic() - began,
                    )
                )
        except BaseException as error:  # noqa: BLE001 (belongs to those who wait)
            for request in batch:
                request.future.set_exception(error)
            return
        for request, answer in zip(batch, answers, strict=True):
            if isinstance(answer, _Failed):
                request.future.set_exception(answer.error)
            else:
                request.future.set_result(answer)

    def _run_or_split(self, items: list[In]) -> "list[Out | _Failed]":
        try:
            answers = list(self._run(items))
            if len(answers) != len(items):
                raise ValueError(f"{len(items)} requests got {len(answers)} answers")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 (the requests that fail alone get it)
            failed = _Failed(error)
        else:
            self._note_success(len(items))
            return [*answers]
        if is_out_of_memory(failed.error):
            failed.error.__traceback__ = None  # its frames hold what filled the memory
            self._shrink(len(items))
        if len(items) == 1:
            return [failed]
        middle = len(items) // 2
        return self._run_or_split(items[:middle]) + self._run_or_split(items[middle:])

    def _shrink(self, size: int) -> None:
        """Take half of what did not fit from now on."""
        give_back_everything()
        self.num_out_of_memory += 1
        self._num_well = 0
        self._set_limit(min(self._limit, max(1, size // 2)))

    def _note_success(self, size: int) -> None:
        """Try a larger batch again, when many of this size fitted: others may use less by now."""
        if self._limit == self._max_batch or size < self._limit:
            return
        self._num_well += 1
        if self._num_well >= self._grow_after:
            self._num_well = 0
            self._set_limit(min(self._max_batch, self._limit + max(1, self._limit // 4)))

    def _set_limit(self, limit: int) -> None:
        if limit != self._limit:
            self._limit = limit
            if self._on_limit is not None:
                self._on_limit(limit)


@dataclass(frozen=True)
class _Failed:
    error: Exception
