"""The change log has no gaps, and a reader that follows it misses nothing."""

import multiprocessing
import threading
import time

import pytest
from sqlalchemy import update

from service.catalog.change_queries import (
    FIRST_CHAIN,
    BrokenChangeLogError,
    append_change,
    begin_epoch,
    read_changes,
    read_counter,
    verify_chain,
)
from service.catalog.session import in_transaction, make_engine, make_sessions
from service.catalog.tables import Change, ChangeOp

DEADLINE_S = 120


def append_many(sessions, count):
    for version in range(count):
        in_transaction(
            sessions, lambda s, v=version: append_change(s, ChangeOp.UPSERT, video_version=v)
        )


def append_in_process(url, count):
    engine = make_engine(url)
    append_many(make_sessions(engine), count)
    engine.dispose()


def follow(read_sessions, until, seen):
    """Read as a replica does: what is above the last line seen, checked against its chain."""
    seq, chain = 0, FIRST_CHAIN
    deadline = time.monotonic() + DEADLINE_S
    while seq < until and time.monotonic() < deadline:
        with read_sessions() as session:
            changes = read_changes(session, seq)
        seq, chain = verify_chain(seq, chain, changes)
        seen.extend(change.seq for change in changes)


def test_readers_miss_nothing_of_eight_writers(sessions, read_sessions):
    seen = [[], []]
    readers = [threading.Thread(target=follow, args=(read_sessions, 160, each)) for each in seen]
    writers = [threading.Thread(target=append_many, args=(sessions, 20)) for _ in range(8)]
    for thread in readers + writers:
        thread.start()
    for thread in readers + writers:
        thread.join()

    assert seen == [list(range(1, 161))] * 2
    with sessions() as session:
        assert read_counter(session).seq == 160


def test_writers_in_several_processes_leave_no_gap(database_url, sessions):
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=append_in_process, args=(database_url, 15)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE_S)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    with sessions() as session:
        counter = read_counter(session)
        assert verify_chain(0, FIRST_CHAIN, read_changes(session, 0)) == counter[1:]
    assert counter.seq == 45


def test_a_rolled_back_change_takes_no_number(sessions):
    append_many(sessions, 1)
    with sessions() as session:
        append_change(session, ChangeOp.DELETE)
        session.rollback()
    append_many(sessions, 1)
    with sessions() as session:
        assert [change.seq for change in read_changes(session, 0)] == [1, 2]


def test_pages_of_the_log_follow_on(sessions):
    append_many(sessions, 5)
    with sessions() as session:
        assert [change.seq for change in read_changes(session, 2, limit=2)] == [3, 4]


def test_an_altered_line_is_noticed(sessions):
    append_many(sessions, 3)
    with sessions.begin() as session:
        session.execute(update(Change).where(Change.seq == 2).values(video_version=77))
    with sessions() as session, pytest.raises(BrokenChangeLogError, match="change 2"):
        verify_chain(0, FIRST_CHAIN, read_changes(session, 0))


def test_a_missing_line_is_noticed(sessions):
    append_many(sessions, 3)
    with sessions() as session:
        changes = read_changes(session, 0)
    with pytest.raises(BrokenChangeLogError, match="change 1 is followed by 3"):
        verify_chain(0, FIRST_CHAIN, [changes[0], changes[2]])


def test_a_restore_begins_another_epoch(sessions):
    with sessions.begin() as session:
        before = read_counter(session).epoch
        assert begin_epoch(session) != before
