"""Batcher where memory does not suffice: smaller batches, larger ones again later."""

import threading
from itertools import pairwise

import pytest

from model.batching import Batcher
from model.memory import is_out_of_memory

LONG_S = 120.0


class SmallMemory:
    """Doubles numbers, as many at once as there is room for."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sizes: list[int] = []
        self.may_run = threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        assert self.may_run.wait(LONG_S)
        if len(items) > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")
        self.sizes.append(len(items))
        return [2 * item for item in items]


@pytest.fixture
def memory():
    memory = SmallMemory(room=3)
    yield memory
    memory.may_run.set()


@pytest.fixture
def batcher(memory):
    told = []
    with Batcher(
        memory, max_batch=16, max_wait_ms=0, max_queue=1000, on_limit=told.append, grow_after=2
    ) as batcher:
        batcher.told = told
        yield batcher


def ask(batcher, memory, count):
    memory.may_run.clear()
    futures = batcher.submit_many(range(count))
    memory.may_run.set()
    return [future.result(LONG_S) for future in futures]


def test_all_are_answered_and_the_next_batches_are_smaller(batcher, memory):
    assert ask(batcher, memory, 64) == [2 * number for number in range(64)]

    assert max(memory.sizes) <= memory.room
    assert batcher.num_out_of_memory >= 3
    assert batcher.told[:3] == [8, 4, 2]


def test_batches_grow_back_when_there_is_room_again(batcher, memory):
    ask(batcher, memory, 64)
    memory.room = 100

    ask(batcher, memory, 900)

    assert batcher.limit == 16
    grown = batcher.told[batcher.told.index(2) :]
    assert max(after / before for before, after in pairwise(grown)) <= 1.5


def test_one_request_that_never_fits_fails_alone(memory):
    memory.room = 0
    memory.may_run.set()
    with Batcher(memory, max_batch=16, max_wait_ms=0, max_queue=10) as batcher:
        error = batcher.submit(1).exception(LONG_S)

    assert is_out_of_memory(error)
    assert batcher.limit == 1
