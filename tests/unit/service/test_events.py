"""Event streams: one reader for all of them, heartbeats, and an end."""

import asyncio
import threading
from contextlib import aclosing
from uuid import uuid4

import pytest

from service.api import events
from service.api.schemas import JobOut
from service.catalog.tables import JobKind, JobState, utc_now
from service.errors import UnavailableError

DEADLINE_S = 20


def make_job(**changes) -> JobOut:
    given = {
        "id": uuid4(),
        "kind": JobKind.INGEST,
        "state": JobState.RUNNING,
        "percent": 0.0,
        "stage": None,
        "reason": None,
        "detail": None,
        "attempts": 1,
        "subject_id": uuid4(),
        "video_id": uuid4(),
        "created_at": utc_now(),
        "started_at": None,
        "finished_at": None,
    }
    return JobOut(**{**given, **changes})


class Table:
    """Jobs as the database would hold them; counts how often it is read."""

    def __init__(self, *jobs: JobOut) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.reads: list[int] = []
        self.is_down = False
        self.was_read = threading.Condition()

    def read(self, job_ids):
        with self.was_read:
            self.reads.append(len(job_ids))
            self.was_read.notify_all()
        if self.is_down:
            raise ConnectionError("the database is away")
        return {job_id: self.jobs[job_id] for job_id in job_ids if job_id in self.jobs}

    def wait_for_reads(self, count: int) -> None:
        with self.was_read:
            target = len(self.reads) + count
            assert self.was_read.wait_for(lambda: len(self.reads) >= target, DEADLINE_S)

    def change(self, job: JobOut, **changes) -> None:
        self.jobs[job.id] = job.model_copy(update=changes)


@pytest.fixture
def job():
    return make_job()


@pytest.fixture
def table(job):
    return Table(job)


@pytest.fixture
def feed(table):
    feed = events.Feed({events.JOBS: table.read})
    feed.start()
    yield feed
    feed.stop()


async def collect(feed, job, **options) -> list[bytes]:
    options = {"last_event_id": None, **options}
    async with asyncio.timeout(DEADLINE_S):
        return [event async for event in events.stream(feed, job, **options)]


def test_any_number_of_streams_is_one_query_each_time(feed, table):
    jobs = [make_job() for _ in range(5)]
    table.jobs = {one.id: one for one in jobs}

    async def run() -> list[list[bytes]]:
        streams = [asyncio.create_task(collect(feed, one)) for one in jobs for _ in range(20)]
        await asyncio.to_thread(table.wait_for_reads, 2)
        assert set(table.reads[1:]) == {5}, "each read asks for the five jobs, once"
        for one in jobs:
            table.change(one, state=JobState.DONE, percent=100.0)
        return await asyncio.gather(*streams)

    for told in asyncio.run(run()):
        assert [event.split(b"\n")[0] for event in told] == [b"event: progress", b"event: end"]
    assert feed.num_streams == 0


def test_without_streams_nothing_is_read(feed, table, job):
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(collect(feed, job), 1.0))
    num_reads = len(table.reads)
    assert num_reads

    assert not threading.Event().wait(3 * events.POLL_S)

    assert len(table.reads) <= num_reads + 1


def test_a_silent_job_is_kept_alive_with_comments(feed, job):
    async def run() -> list[bytes]:
        told = []
        async with aclosing(
            events.stream(feed, job, last_event_id=None, heartbeat_s=0.05)
        ) as stream:
            async for event in stream:
                told.append(event)
                if len(told) == 4:
                    return told
        raise AssertionError("the stream ended by itself")

    first, *others = asyncio.run(run())

    assert first.startswith(b"event: progress\n")
    assert set(others) == {b": ping\n\n"}


def test_a_state_that_the_client_knows_is_not_told_again(feed, table, job):
    async def run() -> list[bytes]:
        known = events.event_id(job)
        stream = asyncio.create_task(collect(feed, job, last_event_id=known))
        await asyncio.to_thread(table.wait_for_reads, 2)
        table.change(job, state=JobState.FAILED, reason="undecodable")
        return await stream

    (only,) = asyncio.run(run())

    assert only.startswith(b"event: end\n")
    assert b'"reason":"undecodable"' in only


def test_a_database_that_is_away_does_not_end_streams(feed, table, job):
    async def run() -> list[bytes]:
        stream = asyncio.create_task(collect(feed, job))
        table.is_down = True
        await asyncio.to_thread(table.wait_for_reads, 3)
        table.is_down = False
        table.change(job, state=JobState.DONE)
        return await stream

    assert asyncio.run(run())[-1].startswith(b"event: end\n")


def test_a_job_that_vanished_ends_its_stream(feed, table, job):
    table.jobs.clear()

    (only,) = asyncio.run(collect(feed, job))

    assert only.startswith(b"event: progress\n")


def test_a_feed_that_stops_ends_its_streams_and_takes_no_more(feed, table, job):
    async def run() -> list[bytes]:
        stream = asyncio.create_task(collect(feed, job))
        await asyncio.to_thread(table.wait_for_reads, 1)
        await asyncio.to_thread(feed.close_streams)
        return await stream

    (only,) = asyncio.run(run())

    assert only.startswith(b"event: progress\n")
    with pytest.raises(UnavailableError):
        feed.check_room("anyone")
