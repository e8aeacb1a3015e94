"""Batcher: one thread, many callers, no lost request."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from model.batching import Batcher, BatcherClosedError, BatcherFullError, BatchFacts

LONG_S = 30.0


class Gate:
    """Doubles numbers, but only when it is open; records each batch."""

    def __init__(self, *, is_open: bool) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        if is_open:
            self.opened.set()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.release()
        assert self.opened.wait(LONG_S)
        if any(item < 0 for item in items):
            raise ArithmeticError(f"negative among {items}")
        return [2 * item for item in items]


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(is_open=False)
    yield gate
    gate.opened.set()


def make_batcher(gate: Gate, **bounds) -> Batcher[int, int]:
    return Batcher(gate, **({"max_batch": 4, "max_wait_ms": 5, "max_queue": 100} | bounds))


def hold(batcher: Batcher[int, int], gate: Gate) -> Future[int]:
    """Let one request occupy the thread, so that the next ones gather."""
    first = batcher.submit(100)
    assert gate.entered.acquire(timeout=LONG_S)
    return first


def test_requests_that_came_during_a_pass_share_the_next_one(gate):
    with make_batcher(gate) as batcher:
        first = hold(batcher, gate)
        rest = [batcher.submit(item) for item in range(6)]
        gate.opened.set()
        assert first.result(LONG_S) == 200
        assert [future.result(LONG_S) for future in rest] == [0, 2, 4, 6, 8, 10]
    assert gate.batches == [[100], [0, 1, 2, 3], [4, 5]]


def test_a_lone_request_waits_for_nobody():
    gate = Gate(is_open=True)
    # If it waited for others it would wait a week.
    with make_batcher(gate, max_wait_ms=7 * 86_400_000) as batcher:
        assert batcher.submit(1).result(LONG_S) == 2


def test_a_busy_batcher_waits_until_the_batch_is_full(gate):
    with make_batcher(gate, max_batch=3, max_wait_ms=60_000) as batcher:
        hold(batcher, gate)
        first, second = batcher.submit(1), batcher.submit(2)
        gate.opened.set()
        third = batcher.submit(3)
        assert [f.result(LONG_S) for f in (first, second, third)] == [2, 4, 6]
    assert gate.batches[1:] == [[1, 2, 3]]


def test_a_batch_that_does_not_fill_starts_after_the_longest_wait(gate):
    with make_batcher(gate, max_batch=3, max_wait_ms=50) as batcher:
        hold(batcher, gate)
        first, second = batcher.submit(1), batcher.submit(2)
        gate.opened.set()
        assert (first.result(LONG_S), second.result(LONG_S)) == (2, 4)


def test_one_poison_request_fails_alone(gate):
    with make_batcher(gate, max_batch=8) as batcher:
        hold(batcher, gate)
        futures = batcher.submit_many([1, 2, -3, 4, 5])
        gate.opened.set()
        with pytest.raises(ArithmeticError, match=r"\[-3\]"):
            futures[2].result(LONG_S)
        assert [futures[i].result(LONG_S) for i in (0, 1, 3, 4)] == [2, 4, 8, 10]
        assert batcher.submit(6).result(LONG_S) == 12


def test_a_full_queue_refuses_all_requests_of_a_call_and_keeps_those_it_has(gate):
    with make_batcher(gate, max_queue=3) as batcher:
        hold(batcher, gate)
        taken = batcher.submit_many([1, 2])
        with pytest.raises(BatcherFullError):
            batcher.submit_many([3, 4])
        assert batcher.depth == 2
        gate.opened.set()
        assert [future.result(LONG_S) for future in taken] == [2, 4]


def test_cancelled_requests_give_their_place_back_and_are_not_run(gate):
    with make_batcher(gate, max_queue=2) as batcher:
        hold(batcher, gate)
        gone, stays = batcher.submit_many([1, 2])
        assert gone.cancel()
        new = batcher.submit(3)
        gate.opened.set()
        assert (stays.result(LONG_S), new.result(LONG_S)) == (4, 6)
    assert gate.batches == [[100], [2, 3]]


def test_closing_answers_what_waits_and_takes_no_more(gate):
    batcher = make_batcher(gate)
    hold(batcher, gate)
    waiting = batcher.submit_many(list(range(10)))
    closing = threading.Thread(target=batcher.close)
    closing.start()
    gate.opened.set()
    closing.join(LONG_S)
    assert [future.result(0) for future in waiting] == [2 * item for item in range(10)]
    with pytest.raises(BatcherClosedError):
        batcher.submit(1)
    batcher.close()


def test_closing_without_draining_cancels_what_waits(gate):
    batcher = make_batcher(gate)
    first = hold(batcher, gate)
    waiting = batcher.submit_many([1, 2])
    closing = threading.Thread(target=batcher.close, kwargs={"drain": False})
    closing.start()
    with pytest.raises(CancelledError):
        waiting[0].result(LONG_S)
    gate.opened.set()
    closing.join(LONG_S)
    assert first.result(0) == 200
    assert waiting[1].cancelled()


def test_too_few_answers_are_an_error_and_not_a_hang():
    with (
        Batcher(lambda _: [1, 2, 3], max_batch=4, max_wait_ms=1, max_queue=9) as batcher,
        pytest.raises(ValueError, match="1 requests got 3 answers"),
    ):
        batcher.submit(1).result(LONG_S)


def test_the_observer_is_told_of_each_pass(gate):
    seen: list[BatchFacts] = []
    with make_batcher(gate, on_batch=seen.append) as batcher:
        hold(batcher, gate)
        futures = batcher.submit_many(list(range(6)))
        gate.opened.set()
        futures[-1].result(LONG_S)
    assert [(facts.size, facts.depth) for facts in seen] == [(1, 0), (4, 2), (2, 0)]
    assert all(facts.waited_s >= 0 and facts.took_s >= 0 for facts in seen)


def test_a_failing_observer_fails_its_batch_and_not_the_batcher():
    told: list[BatchFacts] = []

    def fail_once(facts: BatchFacts) -> None:
        told.append(facts)
        if len(told) == 1:
            raise OSError("no space for metrics")

    with make_batcher(Gate(is_open=True), on_batch=fail_once) as batcher:
        with pytest.raises(OSError, match="no space"):
            batcher.submit(1).result(LONG_S)
        assert batcher.submit(2).result(LONG_S) == 4


def test_many_threads_each_get_their_own_answer():
    gate = Gate(is_open=True)
    with make_batcher(gate, max_batch=8, max_queue=5000) as batcher, ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda n: batcher.submit(n).result(LONG_S), range(2000))
        assert list(answers) == [2 * n for n in range(2000)]
    assert sum(len(batch) for batch in gate.batches) == 2000
    assert max(len(batch) for batch in gate.batches) <= 8


@pytest.mark.parametrize("bounds", [{"max_batch": 0}, {"max_queue": 0}, {"max_wait_ms": -1}])
def test_bounds_must_make_sense(bounds):
    with pytest.raises(ValueError, match="must be positive"):
        make_batcher(Gate(is_open=True), **bounds)
