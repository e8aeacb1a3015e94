"""Stop after the step in progress, not in the middle of it."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import torch

from model.distributed import is_any

Item = TypeVar("Item")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether this process was asked to stop."""

    def __init__(self) -> None:
        self.is_made = False

    def make(self, number: int, _frame: FrameType | None) -> None:
        """Ask to stop; asked a second time by Ctrl-C, stop at once."""
        if self.is_made and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_made = True


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn SIGTERM and Ctrl-C into a request while the context lasts.

    Only the main thread can do that; in any other the request is never made.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.make) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until_stopped(items: Iterable[Item], device: torch.device) -> Iterator[Item]:
    """Yield items until one of the processes is asked to stop; then all end after the same item.

    Args:
        items: as the steps of a training run; every process has as many.
        device: where processes meet, that of the network.
    """
    with stop_requests() as request:
        for item in items:
            yield item
            if is_any(flag=request.is_made, device=device):
                return
