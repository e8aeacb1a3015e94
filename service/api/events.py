"""Progress as server-sent events: one thread reads all that anyone watches."""

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel

from service.api.schemas import JobOut
from service.catalog.tables import JobState
from service.errors import UnavailableError

log = structlog.get_logger()

POLL_S = 0.3
REST_PER_WORK, LONGEST_REST_S = 9, 2.0
"""The feed rests so many times longer than it reads, but is never later than this."""
HEARTBEAT_S = 15.0
RETRY_MS = 2000
STREAMS_LIMIT = 1000
ENDED = {JobState.DONE, JobState.FAILED, JobState.CANCELLED}
JOBS = "jobs"

State = TypeVar("State")
Told_contra = TypeVar("Told_contra", contravariant=True)
Read = Callable[[Collection[UUID]], Mapping[UUID, Any]]
"""Returns the states of things of one kind, by id; called by one thread only."""


class Subscription(Generic[State]):
    """The newest state of one thing, for one stream. Older ones are dropped unread."""

    def __init__(
        self, kind: str, subject_id: UUID, state: State, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.kind, self.subject_id = kind, subject_id
        self.last_told: State | None = state
        self.is_closed = False
        self._loop = loop
        self._changed = asyncio.Event()
        self._newest: State | None = None

    async def next(self, timeout_s: float) -> State | None:
        """Return the next state, or None when nothing changed for so long, or at the end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return None
        self._changed.clear()
        newest, self._newest = self._newest, None
        return newest

    def tell(self, state: State | None) -> None:
        """Hand over a state from another thread; None closes the stream."""
        self.last_told = state
        try:
            self._loop.call_soon_threadsafe(self._take, state)
        except RuntimeError:  # the loop is closed, so nobody listens any more
            self.is_closed = True

    def _take(self, state: State | None) -> None:
        self._newest = state
        self.is_closed = self.is_closed or state is None
        self._changed.set()


class Feed:
    """Read what is watched a few times a second, in one go for each kind of thing.

    Args:
        readers: by kind, what returns the states of such things.
        limit: streams at most.
        limit_per_owner: of one key or login at most.
    """

    def __init__(
        self,
        readers: Mapping[str, Read],
        *,
        limit: int = STREAMS_LIMIT,
        limit_per_owner: int = STREAMS_LIMIT,
    ) -> None:
        self._readers = readers
        self._limit, self._limit_per_owner = limit, limit_per_owner
        self._num_of: Counter[str] = Counter()
        self._condition = threading.Condition()
        self._subscriptions: set[Subscription[Any]] = set()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close_streams(self) -> None:
        """End every stream, and refuse new ones."""
        with self._condition:
            self._is_closing = True
            for subscription in self._subscriptions:
                subscription.tell(None)
            self._condition.notify_all()

    def stop(self) -> None:
        """End every stream and the thread."""
        self.close_streams()
        self._thread.join()

    @property
    def num_streams(self) -> int:
        """How many streams are held."""
        return len(self._subscriptions)

    def check_room(self, owner: str) -> None:
        """Make sure that one more stream may begin.

        Args:
            owner: the key or login that asks.

        Raises:
            UnavailableError: the server stops, or too many streams are open.
        """
        if self._is_closing or len(self._subscriptions) >= self._limit:
            raise UnavailableError(
                "No more event streams now; read the state instead.", retry_after_s=5
            )
        if self._num_of[owner] >= self._limit_per_owner:
            raise UnavailableError(
                f"This key has {self._limit_per_owner} event streams open already; close some.",
                reason="too_many_streams",
                retry_after_s=5,
            )

    @contextmanager
    def watch(
        self, kind: str, subject_id: UUID, state: State, *, owner: str = ""
    ) -> Iterator[Subscription[State]]:
        """Follow one thing, from the state given; called on the event loop."""
        subscription = Subscription(kind, subject_id, state, asyncio.get_running_loop())
        with self._condition:
            if self._is_closing:
                subscription.tell(None)
            self._subscriptions.add(subscription)
            self._num_of[owner] += 1
            self._condition.notify_all()
        try:
            yield subscription
        finally:
            with self._condition:
                self._subscriptions.discard(subscription)
                self._num_of[owner] -= 1
                if not self._num_of[owner]:
                    del self._num_of[owner]

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._subscriptions or self._is_closing)
                if self._is_closing:
                    return
                watched = frozenset(self._subscriptions)
            began = time.monotonic()
            self._tell_news(watched)
            took_s = time.monotonic() - began
            with self._condition:  # many streams must not keep the database busy
                wait_s = min(max(POLL_S, REST_PER_WORK * took_s), LONGEST_REST_S)
                self._condition.wait_for(lambda: self._is_closing, timeout=wait_s)

    def _tell_news(self, watched: frozenset[Subscription[Any]]) -> None:
        kinds: defaultdict[str, list[Subscription[Any]]] = defaultdict(list)
        for subscription in watched:
            kinds[subscription.kind].append(subscription)
        for kind, subscriptions in kinds.items():
            try:
                states = self._readers[kind]({one.subject_id for one in subscriptions})
            except Exception:
                log.exception("feed_failed", kind=kind)  # the database is away: streams wait for it
                continue
            for subscription in subscriptions:
                state = states.get(subscription.subject_id)
                if state != subscription.last_told:
                    subscription.tell(state)


class Teller(Protocol[Told_contra]):
    """Turns states into the events of one stream."""

    is_over: bool
    """Whether the last event was told."""

    def tell(self, state: Told_contra) -> Sequence[bytes]:
        """Return what the client does not know yet."""


async def follow(
    watched: Subscription[State],
    state: State,
    teller: Teller[State],
    *,
    heartbeat_s: float = HEARTBEAT_S,
) -> AsyncIterator[bytes]:
    """Yield events until the end of what is watched; comments keep the line alive.

    Args:
        watched: the subscription.
        state: the first state to tell.
        teller: makes events.
        heartbeat_s: a comment is sent when nothing happens for so long.
    """
    newest: State | None = state
    while not watched.is_closed:
        if newest is None:
            yield KEEPALIVE_COMMENT
        else:
            for event in teller.tell(newest):
                yield event
            if teller.is_over:
                return
        newest = await watched.next(heartbeat_s)


def format_event(name: str, body: BaseModel, *, id_: str) -> bytes:
    """Return one event whose data is JSON."""
    return format_sse_event(event=name, data_str=body.model_dump_json(), id=id_, retry=RETRY_MS)


def event_id(job: JobOut) -> str:
    """Name a state of a job; a client sends it back as Last-Event-ID."""
    return f"{job.attempts}-{job.state}-{job.stage or ''}-{job.percent:.1f}"


class JobTeller:
    """Tells `progress` of a job until it ends, then `end`.

    Args:
        last_event_id: of the last event that the client saw.
    """

    def __init__(self, last_event_id: str | None) -> None:
        self.is_over = False
        self._told = last_event_id

    def tell(self, job: JobOut) -> Sequence[bytes]:
        """Return what the client does not know yet."""
        known, self._told = self._told, event_id(job)
        if job.state in ENDED:
            self.is_over = True
            return [format_event("end", job, id_=self._told)]
        return [] if known == self._told else [format_event("progress", job, id_=self._told)]


async def stream(
    feed: Feed,
    job: JobOut,
    *,
    last_event_id: str | None,
    owner: str = "",
    heartbeat_s: float = HEARTBEAT_S,
) -> AsyncIterator[bytes]:
    """Yield the events of a job."""
    with feed.watch(JOBS, job.id, job, owner=owner) as watched:
        teller = JobTeller(last_event_id)
        async for event in follow(watched, job, teller, heartbeat_s=heartbeat_s):
            yield event
