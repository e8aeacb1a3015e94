"""A stop in good order: say so, end the streams, finish what is open, then go.

A load balancer goes on sending requests until it has seen that `/readyz` answers 503. So after
SIGTERM the server may listen on for a while (`REELSEEK_DRAIN_NOTICE_S`); only then uvicorn is told,
which closes the socket and lets open requests finish within `REELSEEK_DRAIN_S`.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from service.errors import UnavailableError

log = structlog.get_logger()


class Drain:
    """Whether this process was told to stop."""

    def __init__(self) -> None:
        self._has_begun = threading.Event()

    def begin(self) -> None:
        """Be ready no more. Safe in a signal handler."""
        self._has_begun.set()

    def check(self) -> None:
        """Raise UnavailableError if this process stops: new requests belong to another one."""
        if self._has_begun.is_set():
            raise UnavailableError(
                "This server is about to stop.", reason="draining", retry_after_s=5
            )

    @contextmanager
    def on_signals(self, *, notice_s: float, close_streams: Callable[[], None]) -> Iterator[None]:
        """Begin at the first SIGTERM or SIGINT, and hand the signal on after the notice.

        A server waits for open answers before it tells the application that it stops, and streams
        would stay open until their jobs end: they are closed first. A second signal is handed on
        at once.

        Args:
            notice_s: how long the server still listens, seconds.
            close_streams: ends the event streams; may take locks.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        found = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
        previous = {kind: handler for kind, handler in found.items() if callable(handler)}

        def stop(kind: int, frame: FrameType | None) -> None:
            hand_on = previous[signal.Signals(kind)]
            is_first = not self._has_begun.is_set()
            self.begin()
            if not is_first:
                hand_on(kind, frame)
                return
            # in a thread: the main one may be holding the lock that this takes
            threading.Thread(target=close_streams, name="close-streams", daemon=True).start()
            if notice_s == 0:
                hand_on(kind, frame)
            else:
                later = threading.Timer(notice_s, hand_on, (kind, frame))
                later.daemon = True
                later.start()

        for kind in previous:
            signal.signal(kind, stop)
        try:
            yield
        finally:
            for kind, handler in previous.items():
                signal.signal(kind, handler)
