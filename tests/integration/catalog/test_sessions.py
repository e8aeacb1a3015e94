"""What sessions promise on each database."""

import os
import threading
import time

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.catalog.clock import database_time
from service.catalog.door_tables import Secret
from service.catalog.session import allow_idling, in_transaction, make_engine, make_sessions


def keep(session, name):
    session.execute(insert(Secret).values(name=name, value=b"x"))


def test_reading_sessions_cannot_write(read_sessions, sessions):
    with read_sessions() as session, pytest.raises(DBAPIError):
        keep(session, "a")
    with sessions.begin() as session:  # and the same connections can write again
        keep(session, "a")


def test_readers_do_not_wait_for_a_writer(sessions, read_sessions):
    with sessions.begin() as writer:
        keep(writer, "a")
        with read_sessions() as reader:
            assert reader.scalars(select(Secret.name)).all() == []


def test_what_the_database_asks_to_be_tried_again_is(sessions):
    tries = []

    def work(session):
        tries.append(1)
        keep(session, f"try {len(tries)}")
        if len(tries) < 3:
            session.flush()
            keep(session, f"try {len(tries)}")  # a key that is taken
        return "done"

    assert in_transaction(sessions, work) == "done"
    with sessions() as session:
        assert session.scalars(select(Secret.name)).all() == ["try 3"]


def test_what_fails_every_time_is_raised_in_the_end(sessions):
    def work(session):
        keep(session, "a")
        keep(session, "a")

    with pytest.raises(IntegrityError):
        in_transaction(sessions, work)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite: one writer
def test_two_transactions_that_lock_crosswise_both_succeed(sessions):
    with sessions.begin() as session:
        keep(session, "a")
        keep(session, "b")
    both_locked = threading.Barrier(2, timeout=20)

    def lock(first, second):
        waited = []

        def work(session):
            lock_row = "SELECT 1 FROM secrets WHERE name = :name FOR UPDATE"
            session.execute(text(lock_row), {"name": first})
            if not waited:
                waited.append(1)
                both_locked.wait()
            session.execute(text(lock_row), {"name": second})

        in_transaction(sessions, work)
        finished.append(first)

    finished = []
    threads = [threading.Thread(target=lock, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(finished) == ["a", "b"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has no server
def test_who_is_silent_in_a_transaction_loses_its_locks_and_begins_again(database_url, sessions):
    hasty = make_engine(database_url, idle_s=0.2)
    with sessions.begin() as session:
        keep(session, "a")
    found = []

    def work(session):
        found.append(session.scalars(select(Secret.name).with_for_update()).all())
        if len(found) == 1:
            with sessions.begin() as other:  # waits for the lock of the silent one
                other.execute(text("DELETE FROM secrets"))
        keep(session, "b")

    in_transaction(make_sessions(hasty), work)

    assert (found[0], found[-1]) == (["a"], [])  # a slow machine is silent once more
    hasty.dispose()


def test_who_says_so_may_be_silent_in_a_transaction(database_url, sessions):
    hasty = make_engine(database_url, idle_s=1.0)
    with make_sessions(hasty).begin() as session:
        allow_idling(session)
        keep(session, "a")
        time.sleep(1.5)
        keep(session, "b")
    with sessions() as session:
        assert session.scalars(select(Secret.name).order_by(Secret.name)).all() == ["a", "b"]
    hasty.dispose()


def test_the_clock_of_the_database_goes_on_within_a_transaction(sessions):
    with sessions() as session:
        earlier = session.scalar(select(database_time()))
        later = session.scalar(select(database_time(60)))
    assert 59 < (later - earlier).total_seconds() < 90
    assert earlier.tzinfo is not None


def test_a_forked_child_opens_connections_of_its_own(database_url):
    engine = make_engine(database_url)
    with engine.connect() as connection:
        connection.execute(select(1))
    before = engine.pool.checkedin()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover (another process)
        os.write(writing, bytes([engine.pool.checkedin()]))
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert (before, os.read(reading, 1)) == (1, b"\0")
    os.close(reading)
    engine.dispose()
