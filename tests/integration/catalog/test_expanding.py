"""Migrations run beside processes of the release before: what those do must go on working."""

import threading
from uuid import uuid4

import psycopg
import pytest
import structlog
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, UniqueConstraint, create_engine, insert, select

from service.catalog import dump
from service.catalog.session import (
    alembic_config,
    in_transaction,
    make_engine,
    make_sessions,
    upgrade,
)
from service.catalog.tables import utc_now
from service.errors import UnavailableError

RELEASED = "0005"
"""The schema of the processes that run when this release is installed."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """URL of a database without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'growing.sqlite'}"
        return
    server, name = request.getfixturevalue("postgres_server"), f"growing_{uuid4().hex}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield f"{server}{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(url):
    """An engine on it."""
    engine = make_engine(url)
    yield engine
    engine.dispose()


def bring_to(engine, revision):
    with engine.begin() as connection:
        dump.upgrade_to(connection, revision)
    found = MetaData()
    found.reflect(engine)
    return found


def revisions_after(engine, revision):
    with engine.connect() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    newer = scripts.iterate_revisions("head", revision)
    return [script.revision for script in newer][::-1]


def breaks(before, after):
    """Say what a migration takes from whoever knows only the schema before it."""
    for table in before.tables.values():
        if table.name not in after.tables:
            yield f"table {table.name} is gone"
            continue
        now = after.tables[table.name]
        yield from breaks_of_columns(table, now)
        if unique(now) - unique(table):
            yield f"{table.name} must be unique where it need not be before"
        if foreign(now) - foreign(table):
            yield f"{table.name} must refer to what it need not before"


def breaks_of_columns(table, now):
    for column in table.columns:
        if column.name not in now.columns:
            yield f"{column} is gone"
        elif str(now.columns[column.name].type) != str(column.type):
            yield f"{column} has another type"
        elif column.nullable and not now.columns[column.name].nullable:
            yield f"{column} must not be null any more"
    for column in now.columns:
        is_optional = column.nullable or column.server_default is not None
        if column.name not in table.columns and not is_optional:
            yield f"{column} is new, and nobody before it writes it"


def unique(table):
    constraints = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
    found = [*constraints, *(index for index in table.indexes if index.unique)]
    return {tuple(column.name for column in one.columns) for one in found}


def foreign(table):
    old = [key for key in table.foreign_keys if not key.parent.nullable]
    return {(key.parent.name, key.target_fullname) for key in old}


def test_no_migration_takes_anything_from_running_processes(engine):
    before = bring_to(engine, RELEASED)
    for revision in revisions_after(engine, RELEASED):
        after = bring_to(engine, revision)
        assert list(breaks(before, after)) == [], revision
        before = after


def test_the_check_for_breaks_finds_each_kind_of_break():
    memory = create_engine("sqlite://")
    older, newer = MetaData(), MetaData()
    with memory.connect() as connection:
        for statements, found in (
            (("CREATE TABLE gone (a INT)", "CREATE TABLE t (a INT, b INT, c INT, d INT)"), older),
            (
                (
                    "DROP TABLE gone",
                    "DROP TABLE t",
                    "CREATE TABLE t (a TEXT, b INT NOT NULL, c INT UNIQUE, e INT NOT NULL)",
                ),
                newer,
            ),
        ):
            for statement in statements:
                connection.exec_driver_sql(statement)
            found.reflect(connection)
    memory.dispose()
    assert list(breaks(older, newer)) == [
        "table gone is gone",
        "t.a has another type",
        "t.b must not be null any more",
        "t.d is gone",
        "t.e is new, and nobody before it writes it",
        "t must be unique where it need not be before",
    ]


def upload_as_before(connection, tables):
    """Write what a process of the release before writes for an upload, and read it back."""
    video_id, job_id, sha256, now = uuid4(), uuid4(), uuid4().hex * 2, utc_now()
    if connection.dialect.name == "sqlite":  # reflected columns are of its own types
        video_id, job_id, now = video_id.hex, job_id.hex, now.replace(tzinfo=None)
    videos, jobs = tables["videos"], tables["jobs"]
    video = {"id": video_id, "sha256": sha256, "file_name": "f", "title": "t", "fields": {}}
    video |= {"state": "queued", "version": 1, "num_segments": 0}
    job = {"id": job_id, "kind": "ingest", "subject_id": video_id, "version": 1, "state": "queued"}
    job |= {"attempts": 0, "fence": 0, "progress": 0.0, "created_at": now}
    rows = (
        (tables["blobs"], {"sha256": sha256, "size_bytes": 1, "state": "live"}),
        (videos, {**video, "created_at": now, "updated_at": now}),
        (jobs, job),
    )
    for table, values in rows:
        connection.execute(insert(table).values(**values))
    for table in (videos, jobs):
        assert connection.execute(select(table)).all()
    return video_id


def test_a_process_of_the_release_before_goes_on_during_and_after_it(engine, url):
    old = bring_to(engine, RELEASED)
    written, must_stop, failures = [], threading.Event(), []
    sessions = make_sessions(engine)

    def work_as_before():
        while not must_stop.is_set():
            try:
                done = in_transaction(
                    sessions, lambda session: upload_as_before(session.connection(), old.tables)
                )
                written.append(done)
            except Exception as error:  # noqa: BLE001 (any is a failure of this test)
                failures.append(error)
                return

    workers = [threading.Thread(target=work_as_before) for _ in range(2)]
    for worker in workers:
        worker.start()
    before, after = upgrade(url)
    count = len(written)
    while not failures and len(written) < count + 5:
        must_stop.wait(0.01)
    must_stop.set()
    for worker in workers:
        worker.join()

    assert failures == []
    assert (before, after) == (RELEASED, revisions_after(engine, RELEASED)[-1])
    with engine.connect() as connection:
        for table in old.tables.values():
            connection.execute(select(table).limit(1))
        found = connection.execute(select(old.tables["videos"].c.id)).scalars().all()
    assert set(found) == set(written)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("table", "reached"), [("jobs", "0006"), ("videos", "0007")])
def test_a_transaction_that_keeps_a_table_delays_a_migration_and_is_named(
    engine, url, table, reached
):
    bring_to(engine, RELEASED)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with pytest.raises(UnavailableError, match=f"process {pid} .* idle in transaction"):
            upgrade(url, patience_s=0)
        with engine.begin() as other:  # nobody waits behind it, for this table or another
            other.exec_driver_sql("LOCK TABLE videos, jobs IN ROW EXCLUSIVE MODE")
        assert dump.revision_of(connection) == reached
    with structlog.testing.capture_logs() as logs:
        assert upgrade(url)[0] == reached
    assert logs == []
