"""Whatever ends a switch in the middle, it ends in the right state when somebody goes on."""

import random
import threading

import pytest
from sqlalchemy import event, select, update

from service.catalog.activation_tables import GenerationVideo
from service.catalog.tables import (
    Change,
    ChangeOp,
    Generation,
    GenerationState,
    Job,
    JobState,
    utc_now,
)
from tests.factories_ingest import get_job, running_worker, wait_for, wait_for_state
from workers.activation import activate
from workers.runner import run_job

MOST_COMMITS = 40
LONG_AGO = utc_now().replace(year=2020)


class KilledError(BaseException):
    """Stands for the end of the process: no handler of ours may see it."""


class KilledAt:
    """Ends the work at one commit of this thread, just before it or just after it.

    Args:
        sessions: the factory whose commits are counted.
        number: of the commit, from 1.
        is_before: whether the commit does not happen any more.
    """

    def __init__(self, sessions, number, *, is_before):
        self._session_class = sessions.class_
        self._number, self._is_before = number, is_before
        self._thread = threading.current_thread()
        self.count = 0

    def __enter__(self):
        name = "before_commit" if self._is_before else "after_commit"
        event.listen(self._session_class, name, self._on_commit)
        return self

    def __exit__(self, *_error):
        name = "before_commit" if self._is_before else "after_commit"
        event.remove(self._session_class, name, self._on_commit)

    def _on_commit(self, _session):
        if threading.current_thread() is not self._thread:
            return  # the heartbeat
        self.count += 1
        if self.count == self._number:
            raise KilledError


def end_leases(switching):
    with switching.sessions.begin() as session:
        running = update(Job).where(Job.state == JobState.RUNNING)
        session.execute(running.values(lease_until=LONG_AGO))


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_switch_killed_at_any_commit_is_done_by_whoever_goes_on(
    *, switching, gallery, other_dir, generation, is_before, monkeypatch
):
    monkeypatch.setattr("workers.activation.COMMIT_EVERY_S", 3600.0)  # as many commits each time
    version_id = switching.register(other_dir)
    targets = [version_id, generation.model_version_id]
    for number in range(1, MOST_COMMITS):
        target = targets[(number + 1) % 2]
        forget_kept(switching)
        requested = switching.request(target)
        with KilledAt(switching.resources.sessions, number, is_before=is_before) as killer:
            try:
                switching.work(requested)
            except KilledError:
                end_leases(switching)
            else:
                break
        switching.assert_consistent()
        record = switching.work(requested)
        assert record.job.state is JobState.DONE, (number, record.job.reason)
        assert switching.active.model_version_id == target
        switching.assert_consistent()
    assert killer.count == number - 1, "it was never killed at the last commit"
    assert number > 5
    assert gallery


def forget_kept(switching):
    """End the window of what is kept, so that the next switch embeds again."""
    with switching.sessions.begin() as session:
        kept = Generation.state == GenerationState.KEPT
        session.execute(update(Generation).where(kept).values(kept_until=LONG_AGO))
    switching.sweep()


def test_what_was_embedded_before_a_crash_is_not_embedded_again(switching, gallery, other_dir):
    requested = switching.request(switching.register(other_dir))
    target = switching.record(requested.activation_id).activation.generation_id
    listed = select(GenerationVideo.video_id).where(GenerationVideo.generation_id == target)
    with KilledAt(switching.resources.sessions, 5, is_before=False), pytest.raises(KilledError):
        switching.work(requested)
    before = {row[0] for row in switching.query(listed)}
    end_leases(switching)

    switching.work(requested)

    upserts = switching.query(
        select(Change.video_id).where(Change.generation_id == target, Change.op == ChangeOp.UPSERT)
    )
    assert len(upserts) == len(gallery)
    assert before


@pytest.mark.slow
def test_workers_killed_at_random_moments_end_with_the_new_model(
    switching, gallery, other_dir, settings, tmp_path
):
    version_id = switching.register(other_dir)
    requested = switching.request(version_id)
    moments = random.Random(4)
    settings = settings.model_copy(update={"job_attempts": 9})  # each kill costs one
    for number in range(4):
        with running_worker(settings, tmp_path / f"worker-{number}.log") as worker:
            wait_for(lambda worker=worker: "worker_ready" in worker.log)
            threading.Event().wait(moments.uniform(0, 2))
            worker.kill()
        end_leases(switching)
    with running_worker(settings, tmp_path / "last.log"):
        job = wait_for_state(switching.sessions, requested.job_id, JobState.DONE, JobState.FAILED)
    assert job.state is JobState.DONE, job.detail
    assert switching.active.model_version_id == version_id
    switching.assert_consistent()
    assert gallery


def test_a_worker_that_stops_gives_the_job_back(switching, gallery, other_dir):
    requested = switching.request(switching.register(other_dir))
    switching.resources.stop_work_in(0)

    run_job(requested.job_id, activate, switching.resources)

    job = get_job(switching.sessions, requested.job_id)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)  # it waits longer than a heartbeat
    assert gallery
