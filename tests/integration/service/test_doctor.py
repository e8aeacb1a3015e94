"""What `doctor` says of a running installation, on both databases and on real files."""

import shutil
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import update

from service.catalog.process_queries import (
    count_webhooks,
    note_run,
    read_processes,
    write_process,
)
from service.catalog.process_tables import LastRun, Process
from service.catalog.session import in_transaction
from service.catalog.tables import Job, utc_now
from service.catalog.webhook_tables import DeliveryState, Webhook, WebhookDelivery
from service.cli import running_checks, storage_checks
from service.cli.finding import Outcome
from service.observing.presence import Presence
from tests.factories_ingest import wait_for

ALL_KINDS = ("api", "worker", "tuner", "courier")


@pytest.fixture
def runs(sessions):
    """Let a process run: `runs("api", silent_s=100)`."""

    def runs(kind, *, silent_s=0.0, age_s=600.0, version="1", **facts):
        row = Process(
            id=uuid4(),
            kind=kind,
            host="here",
            pid=7,
            version=version,
            facts=facts,
            started_at=utc_now() - timedelta(seconds=age_s),
            seen_at=utc_now(),
        )
        in_transaction(sessions, lambda session: write_process(session, row))
        if silent_s:
            seen_at = utc_now() - timedelta(seconds=silent_s)
            change(sessions, Process, row.id, seen_at=seen_at)

    return runs


def change(sessions, table, id_, **values):
    in_transaction(
        sessions, lambda s: s.execute(update(table).where(table.id == id_).values(**values))
    )


def test_processes_that_run_are_counted_and_missing_ones_named(settings, runs):
    assert running_checks.check_processes(settings).outcome is Outcome.NOTE
    for kind in ("api", "worker", "tuner"):
        runs(kind)
    found = running_checks.check_processes(settings)
    assert found.outcome is Outcome.BAD
    assert "worker --courier" in found.mend
    runs("courier")
    found = running_checks.check_processes(settings)
    assert (found.outcome, found.finding) == (Outcome.GOOD, "1 api, 1 courier, 1 tuner, 1 worker")


def test_processes_that_are_starting_are_given_time(settings, runs):
    runs("api", age_s=1)
    assert running_checks.check_processes(settings).outcome is Outcome.NOTE


def test_a_process_that_fell_silent_does_not_count(settings, runs):
    for kind in ALL_KINDS:
        runs(kind, silent_s=600 if kind == "tuner" else 0)
    found = running_checks.check_processes(settings)
    assert found.outcome is Outcome.BAD
    assert "worker --tuner" in found.mend


def test_an_update_that_was_not_finished_is_said(settings, runs):
    for kind in ALL_KINDS:
        runs(kind, version="2" if kind == "api" else "1")
    assert "versions 1, 2" in running_checks.check_processes(settings).finding


def test_a_replica_that_is_behind_is_named(settings, runs):
    assert running_checks.check_replicas(settings).outcome is Outcome.NOTE
    runs("api", is_ready=True, lag_s=0.2)
    assert running_checks.check_replicas(settings).outcome is Outcome.GOOD
    runs("api", is_ready=True, lag_s=99.0, failure="The bundle is gone.")
    found = running_checks.check_replicas(settings)
    assert (found.outcome, found.finding) == (Outcome.BAD, "7 on here: The bundle is gone.")


def test_a_job_that_nobody_takes_is_found(settings, sessions, upload):
    accepted = upload()
    assert running_checks.check_queues(settings).outcome is Outcome.GOOD
    change(sessions, Job, accepted.job_id, created_at=utc_now() - timedelta(hours=1))
    found = running_checks.check_queues(settings)
    assert found.outcome is Outcome.BAD
    assert "1 ingest; the oldest for 60 min" in found.finding


def test_webhooks_that_fail_are_named(settings, sessions):
    assert running_checks.check_webhooks(settings).finding == "none"
    webhook = Webhook(
        id=uuid4(), url="https://x.test", events=["*"], secret=b"s", created_by="test"
    )
    with sessions.begin() as session:
        session.add(webhook)
        session.flush()
        session.add(
            WebhookDelivery(
                webhook_id=webhook.id,
                event="video.ready",
                payload={},
                tries=3,
                state=DeliveryState.WAITING,
            )
        )
    found = running_checks.check_webhooks(settings)
    assert found.outcome is Outcome.NOTE
    assert f"{webhook.id} 1 messages failed" in found.finding

    change(sessions, Webhook, webhook.id, failing_since=utc_now(), rests_until=utc_now())
    assert f"{webhook.id} away since" in running_checks.check_webhooks(settings).finding
    with sessions() as session:
        assert count_webhooks(session) == {"enabled": 0, "failing": 1, "disabled": 0}
    change(sessions, Webhook, webhook.id, is_enabled=False)
    with sessions() as session:
        assert count_webhooks(session) == {"enabled": 0, "failing": 0, "disabled": 1}


def test_audits_and_backups_that_are_old_or_bad_are_said(settings, sessions):
    checks = (running_checks.check_backup, running_checks.check_audit)
    assert [check(settings).outcome for check in checks] == [Outcome.NOTE] * 2
    for name, result in (("backup", {"folder": "/x"}), ("audit", {"violations": 0})):
        in_transaction(sessions, lambda s, n=name, r=result: note_run(s, n, r))
    assert [check(settings).outcome for check in checks] == [Outcome.GOOD] * 2
    long_ago = utc_now() - timedelta(days=30)
    in_transaction(sessions, lambda s: s.execute(update(LastRun).values(finished_at=long_ago)))
    assert [check(settings).outcome for check in checks] == [Outcome.NOTE] * 2
    in_transaction(sessions, lambda s: note_run(s, "audit", {"violations": 2}))
    assert running_checks.check_audit(settings).outcome is Outcome.BAD


def test_the_clocks_of_this_machine_agree(settings):
    assert running_checks.check_clock(settings).outcome is Outcome.GOOD


def test_files_that_are_put_come_back_and_go(settings, storage):
    assert storage_checks.check_storage(settings).outcome is Outcome.GOOD
    assert list(storage.stored_parts()) == []
    shutil.rmtree(settings.data_dir / "uploads")
    (settings.data_dir / "uploads").write_bytes(b"in the way")
    found = storage_checks.check_storage(settings)
    assert found.outcome is Outcome.BAD
    assert "REELSEEK_DATA_DIR" in found.mend


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_database_that_is_not_there_is_only_noted(settings, tmp_path):
    nowhere = settings.model_copy(update={"database_url": None, "data_dir": tmp_path / "new"})
    assert running_checks.check_processes(nowhere).outcome is Outcome.NOTE
    assert storage_checks.check_storage(nowhere).outcome is Outcome.NOTE
    assert not nowhere.data_dir.exists()


def test_a_process_writes_its_row_and_takes_it_back(sessions):
    presence = Presence(sessions, kind="api", read_facts=lambda: {"is_ready": True}, every_s=0.05)
    presence.start()

    def seen():
        with sessions() as session:
            return read_processes(session)

    wait_for(lambda: len(seen()) == 1)
    (process,) = seen()
    assert (process.id, process.kind, process.facts) == (
        presence.process_id,
        "api",
        {"is_ready": True},
    )
    assert process.is_alive
    presence.stop()
    wait_for(lambda: seen() == [])
