"""The way to a host: its name is looked up once, and what was checked is what is connected to."""

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from service.outbound.addresses import IPAddress, as_address
from service.outbound.errors import OutboundError
from service.outbound.policy import Policy, Target

Resolver = Callable[[str, int], Sequence[str]]
"""Returns every address of a name; raises OSError if it has none."""

MAX_ADDRESSES = 8
"""Addresses of one name that are tried at most."""


def system_resolver(host: str, port: int) -> list[str]:
    """Ask the resolver of this machine."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Deadline:
    """When an exchange must be over, and how long it may be silent.

    Args:
        total_s: for all of it, seconds.
        idle_s: for each step of it, seconds.
    """

    def __init__(self, *, total_s: float, idle_s: float) -> None:
        self._ends = time.monotonic() + total_s
        self._idle_s = idle_s

    @property
    def is_over(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() >= self._ends

    def step_s(self) -> float:
        """Return how long the next step may take.

        Raises:
            OutboundError: `timeout`: there is no time left.
        """
        left = self._ends - time.monotonic()
        if left <= 0:
            raise timeout_error()
        return min(left, self._idle_s)


def timeout_error() -> OutboundError:
    """Return the failure of a host that is too slow."""
    return OutboundError("timeout", "The other side did not answer in time.")


def resolve(
    target: Target, policy: Policy, resolver: Resolver, deadline: Deadline
) -> list[IPAddress]:
    """Return the addresses of a host, each of which may be spoken to.

    Raises:
        OutboundError: it has none, one of them may not be spoken to, or the look-up takes long.
    """
    literal = as_address(target.host)
    if literal is not None:
        found = [literal]
    else:
        answers = _within(lambda: resolver(target.host, target.port), deadline)
        found = [address for text in answers if (address := as_address(text)) is not None]
    if not found:
        raise OutboundError("name_not_found", f"There is no host {target.host}.")
    policy.check(target, found)
    return found[:MAX_ADDRESSES]


def _within(look_up: Callable[[], Sequence[str]], deadline: Deadline) -> Sequence[str]:
    """Bound a look-up in time: the system's can't be interrupted, only left behind."""
    answers: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(look_up())
        except (OSError, UnicodeError):
            answers.put(())

    threading.Thread(target=look, name="resolve", daemon=True).start()
    try:
        return answers.get(timeout=deadline.step_s())
    except queue.Empty:
        raise timeout_error() from None


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to addresses that were checked, whatever host it is asked for.

    The host is still what TLS asks the certificate for, and what the Host header says.

    Args:
        addresses: of the host; the next one is tried if one does not answer.
        deadline: of the exchange.
    """

    def __init__(self, addresses: Sequence[IPAddress], deadline: Deadline) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers."""
        del host, timeout, local_address, socket_options
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._addresses:
            try:
                stream = self._sockets.connect_tcp(
                    str(address), port, timeout=self._deadline.step_s()
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Timed(stream, self._deadline)
        raise failure


class _Timed(httpcore.NetworkStream):
    """A stream whose steps end with the exchange's deadline, however slowly bytes trickle."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what comes within the time of a step."""
        del timeout
        return self._stream.read(max_bytes, self._deadline.step_s())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write within the time of a step."""
        del timeout
        self._stream.write(buffer, self._deadline.step_s())

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Agree on TLS within the time of a step."""
        del timeout
        secured = self._stream.start_tls(ssl_context, server_hostname, self._deadline.step_s())
        return _Timed(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        """Return what the stream knows."""
        return self._stream.get_extra_info(info)
