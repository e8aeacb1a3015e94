"""What the routes of one process share; `service.main` builds it, requests read it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from service.access.oidc import TokenReader
from service.api.draining import Drain
from service.api.events import Feed
from service.api.key_use import KeyUse
from service.api.metrics import Metrics
from service.api.rates import Rates
from service.catalog.session import Sessions
from service.errors import UnavailableError
from service.index.replica import IndexReplica
from service.jobs import JobSender
from service.quotas import Quotas
from service.search import ClipStore
from service.settings import Settings
from service.storage import Storage

RECEIVING_THREADS = 8
"""Threads that write what uploads bring, so that a slow disk leaves threads to searches."""

T = TypeVar("T")


class SearchParts:
    """The replica and its encoder; they take a while to load, and other routes need not wait."""

    def __init__(self) -> None:
        self._replica: IndexReplica | None = None
        self._failure: str | None = None

    def set_started(self, replica: IndexReplica) -> None:
        """Let searches begin as soon as the replica has caught up."""
        self._replica = replica

    def set_failed(self, sentence: str) -> None:
        """Remember why searches will never begin in this process."""
        self._failure = sentence

    @property
    def replica(self) -> IndexReplica | None:
        """The replica, once it is there."""
        return self._replica

    def get(self) -> IndexReplica:
        """Return the replica, ready to be searched.

        Raises:
            UnavailableError: not yet, or never.
        """
        if self._failure:
            raise UnavailableError(self._failure, reason="search_failed", retry_after_s=30)
        if self._replica is None:
            raise UnavailableError(
                "The model is being loaded; try again in a moment.",
                reason="model_loading",
                retry_after_s=2,
            )
        self._replica.serving()  # raises UnavailableError while it is not ready
        return self._replica


class Gate:
    """Let a number of calls run in threads of their own and some more wait; refuse the rest.

    Args:
        threads: calls that run at once.
        waiting: calls that wait at most.
        patience_s: how long one waits at most, seconds.
    """

    def __init__(self, *, threads: int, waiting: int, patience_s: float = math.inf) -> None:
        self._places = anyio.CapacityLimiter(threads)
        self._threads = anyio.CapacityLimiter(math.inf)  # whoever has a place has a thread
        self._admitted = 0
        self._limit = threads + waiting
        self._patience_s = patience_s

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread.

        Raises:
            UnavailableError: too many wait already, or no thread became free in time.
        """
        if self._admitted >= self._limit:
            raise _too_busy()
        self._admitted += 1
        try:
            place = object()
            try:
                with anyio.fail_after(self._patience_s):
                    await self._places.acquire_on_behalf_of(place)
            except TimeoutError:
                raise _too_busy() from None
            try:
                return await anyio.to_thread.run_sync(work, limiter=self._threads)
            finally:
                self._places.release_on_behalf_of(place)
        finally:
            self._admitted -= 1


def _too_busy() -> UnavailableError:
    return UnavailableError(
        "Too many requests wait already; try again in a moment.",
        reason="too_busy",
        retry_after_s=2,
    )


@dataclass(frozen=True, kw_only=True)
class State:
    """Everything that routes are handed.

    Attributes:
        sessions: transactions that write.
        reads: transactions that only read.
        uploads: threads that probe files and accept them.
        receiving: threads that write files as they come.
        drain: whether this process was told to stop.
        searches: threads that search.
        estimates: threads that measure what a tuning run would take.
        clips: stored clips that re-ranking reads.
        cursor_key: signs cursors; all processes share it.
        quotas: how much may be uploaded.
        rates: how often each key may ask.
        key_use: when keys were last used.
        tokens: reads the tokens of an identity provider, if there is one.
    """

    settings: Settings
    sessions: Sessions
    reads: Sessions
    storage: Storage
    clips: ClipStore
    sender: JobSender
    search_parts: SearchParts
    feed: Feed
    metrics: Metrics
    uploads: Gate
    searches: Gate
    estimates: Gate
    cursor_key: bytes
    drain: Drain = field(default_factory=Drain)
    receiving: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(RECEIVING_THREADS)
    )
    quotas: Quotas
    rates: Rates
    key_use: KeyUse
    tokens: TokenReader | None
