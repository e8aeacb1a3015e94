"""Statements of every request find their rows by an index, however many rows there are."""

from uuid import uuid4

import pytest
from sqlalchemy import event

from service import idempotency
from service.catalog import status_queries
from service.catalog.ingest_queries import delete_video
from service.catalog.session import in_transaction
from service.catalog.tables import JobState
from service.idempotency import IdempotencyToken, KeptAnswer
from tests import factories

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def plans(engine):
    """What SQLite does for each statement that changes rows, and for those that look for them."""
    plans = []

    def explain(_connection, cursor, statement, parameters, _context, is_many):
        if statement.startswith(("DELETE", "UPDATE", "SELECT")) and not is_many:
            own = cursor.connection.cursor()
            own.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[-1] for row in own.fetchall())

    event.listen(engine, "before_cursor_execute", explain)
    yield plans
    event.remove(engine, "before_cursor_execute", explain)


def test_a_delete_reads_no_embedding_of_another_video(sessions, storage, upload, plans):
    accepted = upload()
    factories.ingest(sessions, storage, accepted.job_id)
    plans.clear()

    in_transaction(sessions, lambda session: delete_video(session, accepted.video_id))

    assert any("embeddings" in plan for plan in plans)
    assert not [plan for plan in plans if plan.startswith(("SCAN embeddings", "SCAN segments"))]


def test_a_key_is_found_among_all_keys_of_a_week(sessions, plans):
    token = IdempotencyToken(owner="tests", key=str(uuid4()))

    reservation = idempotency.begin(sessions, token, "digest")
    in_transaction(sessions, lambda session: idempotency.mark_done(session, reservation))
    idempotency.keep(sessions, reservation, KeptAnswer(status=201))
    idempotency.release(sessions, reservation, even_if_done=True)

    assert any("idempotency_keys" in plan for plan in plans)
    assert not [plan for plan in plans if plan.startswith("SCAN")]


def test_the_newest_jobs_are_found_among_all_that_ever_were(sessions, upload, plans):
    uploaded = [upload(b"content %d" % n).job_id for n in range(4)]
    with sessions() as session:
        first, second, *_ = status_queries.newest_jobs(session, limit=4)
        first.state, second.state = JobState.DONE, JobState.RUNNING
        session.commit()
    plans.clear()

    with sessions() as session:
        newest = status_queries.newest_jobs(session, limit=3)
        queued = status_queries.newest_jobs(session, limit=3, state=JobState.QUEUED)

    assert [job.id for job in newest] == uploaded[:0:-1]
    assert [job.id for job in queued] == uploaded[1::-1]
    assert any("ix_jobs_open" in plan for plan in plans)
    assert not [plan for plan in plans if plan.startswith("SCAN")]
