"""Job progress as server-sent events: one thread reads the jobs that anyone watches."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from service.api.schemas import JobOut
from service.catalog.tables import JobState
from service.errors import UnavailableError

log = structlog.get_logger()

POLL_S = 0.3
HEARTBEAT_S = 15.0
RETRY_MS = 2000
STREAMS_LIMIT = 1000
ENDED = {JobState.DONE, JobState.FAILED, JobState.CANCELLED}

ReadJobs = Callable[[Collection[UUID]], Mapping[UUID, JobOut]]


class Subscription:
    """The newest state of one job, for one stream. Older ones are dropped unread."""

    def __init__(self, job: JobOut, loop: asyncio.AbstractEventLoop) -> None:
        self.job_id = job.id
        self.last_told: JobOut | None = job
        self.is_closed = False
        self._loop = loop
        self._changed = asyncio.Event()
        self._newest: JobOut | None = None

    async def next(self, timeout_s: float) -> JobOut | None:
        """Return the next state, or None when nothing changed for so long, or at the end."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return None
        self._changed.clear()
        newest, self._newest = self._newest, None
        return newest

    def tell(self, job: JobOut | None) -> None:
        """Hand over a state from another thread; None closes the stream."""
        self.last_told = job
        try:
            self._loop.call_soon_threadsafe(self._take, job)
        except RuntimeError:  # the loop is closed, so nobody listens any more
            self.is_closed = True

    def _take(self, job: JobOut | None) -> None:
        self._newest = job
        self.is_closed = self.is_closed or job is None
        self._changed.set()


class JobFeed:
    """Read watched jobs a few times a second, in one query, however many streams there are.

    Args:
        read_jobs: returns the jobs with these ids.
    """

    def __init__(self, read_jobs: ReadJobs) -> None:
        self._read_jobs = read_jobs
        self._condition = threading.Condition()
        self._subscriptions: set[Subscription] = set()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="job-feed", daemon=True)

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

    def check_room(self) -> None:
        """Make sure that one more stream may begin.

        Raises:
            UnavailableError: the server stops, or holds too many streams.
        """
        if self._is_closing or len(self._subscriptions) >= STREAMS_LIMIT:
            raise UnavailableError(
                "No more event streams now; read the job instead.", retry_after_s=5
            )

    @contextmanager
    def watch(self, job: JobOut) -> Iterator[Subscription]:
        """Follow one job, from the state given; called on the event loop."""
        subscription = Subscription(job, asyncio.get_running_loop())
        with self._condition:
            if self._is_closing:
                subscription.tell(None)
            self._subscriptions.add(subscription)
            self._condition.notify_all()
        try:
            yield subscription
        finally:
            with self._condition:
                self._subscriptions.discard(subscription)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._subscriptions or self._is_closing)
                if self._is_closing:
                    return
                watched = frozenset(self._subscriptions)
            self._tell_news(watched)
            with self._condition:
                self._condition.wait_for(lambda: self._is_closing, timeout=POLL_S)

    def _tell_news(self, watched: frozenset[Subscription]) -> None:
        try:
            jobs = self._read_jobs({subscription.job_id for subscription in watched})
        except Exception:
            log.exception("job_feed_failed")  # the database is away: the streams wait for it
            return
        for subscription in watched:
            job = jobs.get(subscription.job_id)
            if job != subscription.last_told:
                subscription.tell(job)


def event_id(job: JobOut) -> str:
    """Name a state of a job; a client sends it back as Last-Event-ID."""
    return f"{job.attempts}-{job.state}-{job.stage or ''}-{job.percent:.1f}"


async def stream(
    feed: JobFeed, job: JobOut, *, last_event_id: str | None, heartbeat_s: float = HEARTBEAT_S
) -> AsyncIterator[bytes]:
    """Yield `progress` events until the job ends, then `end`; comments keep the line alive."""
    with feed.watch(job) as subscription:
        told = last_event_id
        newest: JobOut | None = job
        while not subscription.is_closed:
            if newest is None:
                yield KEEPALIVE_COMMENT
            elif newest.state in ENDED:
                yield _event("end", newest)
                return
            elif event_id(newest) != told:
                told = event_id(newest)
                yield _event("progress", newest)
            newest = await subscription.next(heartbeat_s)


def _event(name: str, job: JobOut) -> bytes:
    return format_sse_event(
        event=name, data_str=job.model_dump_json(), id=event_id(job), retry=RETRY_MS
    )
