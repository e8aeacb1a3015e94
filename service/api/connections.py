"""The server's side of connections: no client that is slow or silent holds one for long.

uvicorn waits for ever for the end of a request's head, for a client that takes none of its answer,
and for the rest of a body that was answered already. This protocol does not, and it knows how many
connections are too many.
"""

import fcntl
import json
import resource
import socket
import struct
import termios
from asyncio import AbstractEventLoop, BaseTransport, TimerHandle, Transport
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.api.admission import SURPLUS
from service.settings import Settings

log = structlog.get_logger()

BACKLOG = 2048
RESERVE = 64
"""Connections beyond the limit that are still answered, with 503, or with their health."""
HEAD_S = 10.0
LINGER_S = 5.0
LOOK_EVERY_S = 5.0
UNSENT_BYTES = 128 * 1024
"""What the kernel holds of an answer before the client's machine has room for it."""
SHARE_FOR_CONNECTIONS = 2 / 3
"""Of the file descriptors; uploads, media and databases need the rest."""
LATE_HEAD = json.dumps(
    {
        "type": "/problems/request_timeout",
        "title": "Request Timeout",
        "status": 408,
        "detail": "The head of the request did not come in time.",
        "reason": "request_timeout",
    }
).encode()


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long clients may take, in seconds.

    Attributes:
        connections: how many may be open.
        head_s: from the first byte of a request, or from the connection, to the end of its head.
        answer_idle_s: over so long a client must take some of its answer.
        min_bytes_per_s: how much of it, on average.
        linger_s: how long the rest of a body is read that is not wanted any more.
    """

    connections: int
    head_s: float = HEAD_S
    answer_idle_s: float = 60.0
    min_bytes_per_s: int = 1024
    linger_s: float = LINGER_S

    @property
    def look_every_s(self) -> float:
        """How often a connection is looked at."""
        return min(LOOK_EVERY_S, self.head_s / 2, self.answer_idle_s / 2, self.linger_s / 2)


def server_config(settings: Settings, **options: Any) -> uvicorn.Config:
    """Return how the API is served, whichever socket it listens on.

    Args:
        settings: limits, and how long open requests may take to finish after SIGTERM.
        options: more of uvicorn's.
    """
    patience = Patience(
        connections=min(settings.connections, allow_open_files()),
        answer_idle_s=settings.answer_idle_s,
        min_bytes_per_s=settings.upload_min_bytes_per_s,
    )
    return uvicorn.Config(
        **{
            "log_config": None,
            "access_log": False,
            "backlog": BACKLOG,
            "timeout_graceful_shutdown": max(1, round(settings.drain_s)),
            "http": cast("type[H11Protocol]", partial(PatientProtocol, patience=patience)),
            **options,
        }
    )


def allow_open_files() -> int:
    """Allow this process all descriptors that it may have; return how many connections fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return 100_000
    return int(hard * SHARE_FOR_CONNECTIONS)


class PatientProtocol(H11Protocol):
    """One connection."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,  # uvicorn names it so
        *,
        patience: Patience,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._patience = patience
        self._timer: TimerHandle | None = None
        self._head_since: float | None = None
        self._answered_since: float | None = None
        self._untaken_since: float | None = None
        self._untaken_bytes = 0

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin; a connection that is one too many is told so with its first request."""
        super().connection_made(cast("Transport", transport))
        surplus = len(self.connections) - self._patience.connections
        if surplus > RESERVE:
            self.transport.abort()
            return
        if surplus > 0:
            self.app_state = {**self.app_state, SURPLUS: True}
        _limit_unsent(self.transport)
        self._head_since = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; the first byte of a head starts its clock."""
        if self._head_since is None and self.conn.their_state is h11.IDLE:
            self._head_since = self.loop.time()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._head_since = None

    def resume_writing(self) -> None:
        """Go on: the client has taken most of what waited for it."""
        self._untaken_since = None
        super().resume_writing()

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(self._patience.look_every_s, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if self._head_since is not None and now - self._head_since > self._patience.head_s:
            self._end_late_head()
        elif self._is_answer_stuck(now):
            self._cut("answer_not_taken")
        elif self._is_body_unwanted(now):
            self._cut("body_not_wanted")
        else:
            self._look_later()

    def _is_answer_stuck(self, now: float) -> bool:
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._untaken_since = None
            return False
        untaken_bytes = waiting + _bytes_in_kernel(self.transport)
        if self._untaken_since is None:
            self._untaken_since, self._untaken_bytes = now, untaken_bytes
        elif now - self._untaken_since >= self._patience.answer_idle_s:
            least = max(1.0, (now - self._untaken_since) * self._patience.min_bytes_per_s)
            if self._untaken_bytes - untaken_bytes < least:
                return True
            self._untaken_since, self._untaken_bytes = now, untaken_bytes
        return False

    def _is_body_unwanted(self, now: float) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        is_answered = cycle is not None and cycle.response_complete
        if not is_answered or self.conn.their_state is not h11.SEND_BODY:
            self._answered_since = None
        elif self._answered_since is None:
            self._answered_since = now
        return (
            self._answered_since is not None
            and now - self._answered_since >= self._patience.linger_s
        )

    def _end_late_head(self) -> None:
        if self.conn.trailing_data[0]:  # a part of a head came, so somebody may read an answer
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\n"
                b"Cache-Control: no-store\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(LATE_HEAD), LATE_HEAD)
            )
        self.transport.close()

    def _cut(self, why: str) -> None:
        log.info("connection_cut", why=why, client=self.client[0] if self.client else None)
        self.transport.abort()


def _limit_unsent(transport: Transport) -> None:
    """Keep most of an answer out of the kernel until the client takes it."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family in {socket.AF_INET, socket.AF_INET6}:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def _bytes_in_kernel(transport: Transport) -> int:
    """Return what the kernel holds that the client's machine did not acknowledge."""
    connection = transport.get_extra_info("socket")
    if connection is None:
        return 0
    try:
        found = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:  # it is closed by now
        return 0
    num_bytes: int = struct.unpack("i", found)[0]
    return num_bytes
