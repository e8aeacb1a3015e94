"""tune(): a real process trains a tiny network on real videos; killed, cancelled, begun again."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from uuid import UUID

import psutil
import pytest

from model.bundle import bundle_digest
from service.catalog import (
    audit,
    caption_queries,
    job_queries,
    tuning_progress_queries,
    tuning_queries,
)
from service.catalog.activation_tables import Activation, Trigger
from service.catalog.session import in_transaction
from service.catalog.tables import JobState, ModelVersion
from service.catalog.tuning_tables import Policy
from service.registry import Registry
from service.tunings.policies import is_activated
from service.tunings.requesting import cancel_tuning
from tests.factories_captioned import captioned_videos, job_of, names_of, read, request
from tests.factories_ingest import wait_for
from workers.ingest import ingest
from workers.lease import Lease
from workers.runner import run_job
from workers.tuning.candidate import register
from workers.tuning.folder import read_forgotten, read_pair_lines
from workers.tuning.job import num_processes, tune

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

STEPS = 6
LONG = 5000
"""Steps of a run that nobody waits for."""
JOIN_S = 180.0


@pytest.fixture(autouse=True)
def _own_priority(monkeypatch):
    """Let the process be one like others: with the lowest priority it never has its turn here."""
    code = "import sys; from workers.tuning.process import main; sys.exit(main(sys.argv[1:]))"
    monkeypatch.setattr(
        "workers.tuning.child._command",
        lambda folder, _processes: [sys.executable, "-c", code, str(folder)],
    )


@pytest.fixture
def settings(settings):
    """A checkpoint after each step, one core."""
    return settings.model_copy(update={"tuning_checkpoint_s": 0.01, "torch_threads": 1})


@pytest.fixture
def videos(*, sessions, storage, sender, generation, tmp_path, resources):  # noqa: ARG001
    return captioned_videos(
        sessions,
        storage,
        sender,
        tmp_path,
        count=5,
        index=lambda accepted: run_job(accepted.job_id, ingest, resources),
    )


@pytest.fixture
def ask(sessions, sender, settings, videos):  # noqa: ARG001 (there must be something to learn)
    """Ask for a run: `ask(steps=3)`."""

    def ask(*, steps=STEPS, policy=Policy.MANUAL, name=None, **choices):
        chosen = {"steps": steps, "batch": 4, "seed": 3, **choices}
        return request(sessions, sender, settings, choices=chosen, policy=policy, name=name)

    return ask


@pytest.fixture
def begin(resources):
    """Return what runs a job in a thread."""
    threads = []

    def begin(requested):
        thread = threading.Thread(target=run_job, args=(requested.job_id, tune, resources))
        thread.start()
        threads.append(thread)
        return thread

    yield begin
    resources.stop_work_in(0.0)
    for thread in threads:
        thread.join(JOIN_S)


def processes() -> list[psutil.Process]:
    """Return the processes that train for this one."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "workers.tuning.process" in " ".join(child.cmdline())
    ]


def steps_of(sessions, requested) -> list[int]:
    with sessions() as session:
        points = tuning_progress_queries.points_of(session, requested.tuning_id)
        return [point.step for point in points]


def candidate_digest(sessions, requested) -> str:
    with sessions() as session:
        tuning = tuning_queries.get_tuning(session, requested.tuning_id).tuning
        return session.get_one(ModelVersion, tuning.candidate_version_id).bundle_digest


def test_a_run_ends_with_a_candidate_and_its_report(sessions, storage, settings, ask, resources):
    requested = ask()

    run_job(requested.job_id, tune, resources)

    record = read(sessions, requested.tuning_id)
    assert (record.job.state, record.job.detail) == (JobState.DONE, None)
    assert record.candidate_name == "tuned-1"
    assert record.tuning.report["verdict"] == "not_enough_to_tell"
    assert record.tuning.plan["steps"] == STEPS
    assert steps_of(sessions, requested) == list(range(1, STEPS + 1))
    model = Registry(settings.data_dir).get("tuned-1")
    assert model.facts.digest == bundle_digest(model.path) == candidate_digest(sessions, requested)
    assert not storage.tuning_folder(requested.tuning_id).exists()
    assert processes() == []
    with sessions() as session:
        assert audit.audit(session, storage, grace_s=3600) == []


def test_a_killed_process_is_begun_again_and_comes_to_the_same(
    *, sessions, storage, ask, begin, resources, settings
):
    undisturbed, disturbed = ask(steps=40), ask(steps=40)
    run_job(undisturbed.job_id, tune, resources)

    thread = begin(disturbed)
    folder = storage.tuning_folder(disturbed.tuning_id)
    wait_for(lambda: len(list(folder.glob("run/step-*"))) > 1)
    for process in processes():
        process.kill()
    thread.join()
    job = job_of(sessions, disturbed)
    assert (job.state, job.reason) == (JobState.QUEUED, "process_died")
    assert max(steps_of(sessions, disturbed)) < 40

    run_job(disturbed.job_id, tune, resources)

    assert job_of(sessions, disturbed).state is JobState.DONE
    assert candidate_digest(sessions, disturbed) == candidate_digest(sessions, undisturbed)
    assert names_of(Registry(settings.data_dir).list()) == ["bundled", "tuned-1"]
    assert steps_of(sessions, disturbed) == steps_of(sessions, undisturbed)


def test_a_cancelled_run_stops_soon_and_leaves_nothing(sessions, ask, begin, settings):
    requested = ask(steps=LONG)
    thread = begin(requested)
    wait_for(lambda: steps_of(sessions, requested))

    cancel_tuning(sessions, requested.tuning_id)
    thread.join(JOIN_S)

    assert not thread.is_alive()
    assert processes() == []
    record = read(sessions, requested.tuning_id)
    assert record.job.state is JobState.CANCELLED
    assert record.tuning.candidate_version_id is None
    assert names_of(Registry(settings.data_dir).list()) == ["bundled"]


def test_a_worker_that_stops_gives_the_run_back_with_a_checkpoint(
    sessions, storage, ask, begin, resources
):
    requested = ask(steps=LONG)
    thread = begin(requested)
    wait_for(lambda: steps_of(sessions, requested))

    resources.stop_work_in(600.0)
    thread.join(JOIN_S)

    assert not thread.is_alive()
    job = job_of(sessions, requested)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    assert list(storage.tuning_folder(requested.tuning_id).glob("run/step-*/manifest.json"))
    assert processes() == []


def test_an_attempt_that_advances_does_not_count(sessions, storage, ask, begin, resources):
    requested = ask(steps=LONG)
    for _ in range(resources.settings.job_attempts + 1):
        before = set(storage.tuning_folder(requested.tuning_id).glob("run/step-*"))
        thread = begin(requested)
        wait_for(
            lambda before=before: (
                set(storage.tuning_folder(requested.tuning_id).glob("run/step-*")) - before
                and job_of(sessions, requested).attempts == 1
                and processes()
            )
        )
        time.sleep(1.2)  # the advance is written once a second
        for process in processes():
            process.kill()
        thread.join()
        assert job_of(sessions, requested).state is JobState.QUEUED


def test_a_pair_that_is_deleted_meanwhile_is_told_to_the_process(sessions, storage, ask, begin):
    requested = ask(steps=LONG)
    thread = begin(requested)
    wait_for(lambda: steps_of(sessions, requested))
    folder = storage.tuning_folder(requested.tuning_id)
    line = next(line for line in read_pair_lines(folder) if not line.is_held_out)

    in_transaction(
        sessions, lambda session: caption_queries.delete_caption(session, UUID(line.origin_id))
    )

    wait_for(lambda: read_forgotten(folder) == {line.ordinal})
    cancel_tuning(sessions, requested.tuning_id)
    thread.join(JOIN_S)


def test_what_cannot_be_trained_fails_with_the_reason(sessions, storage, ask, resources):
    requested = ask(frozen=["nothing_has_this_name"])

    run_job(requested.job_id, tune, resources)

    job = job_of(sessions, requested)
    assert (job.state, job.reason) == (JobState.FAILED, "bad_choices")
    assert "nothing_has_this_name" in job.detail
    del storage


@pytest.fixture
def finished(storage, bundle_dir, ask, sessions, resources):
    """A claimed run whose process left its candidate: `finished(verdict="better")`."""

    def finished(*, verdict="better", **asked):
        requested = ask(**asked)
        job = in_transaction(
            sessions, lambda s: job_queries.claim_job(s, requested.job_id, lease_s=60)
        )
        folder = storage.tuning_folder(requested.tuning_id)
        folder.mkdir(parents=True)
        shutil.copytree(bundle_dir, folder / "bundle")
        (folder / "report.json").write_text(json.dumps({"verdict": verdict}))
        lease = Lease(sessions, job, lease_s=60, must_stop=lambda: False)
        return requested, lambda: register(job, lease, resources, folder)

    return finished


def test_registering_again_after_a_kill_changes_nothing(sessions, settings, finished):
    requested, put = finished(name="mine")

    put()
    with pytest.raises((job_queries.LostLeaseError, FileNotFoundError)):
        put()  # the folder is gone, and so is the job

    assert names_of(Registry(settings.data_dir).list()) == ["bundled", "mine"]
    assert read(sessions, requested.tuning_id).candidate_name == "mine"
    assert job_of(sessions, requested).state is JobState.DONE


def test_a_kill_between_the_model_and_the_job_leaves_one_model(
    sessions, settings, storage, finished
):
    requested, put = finished(policy=Policy.MANUAL)
    folder = storage.tuning_folder(requested.tuning_id)
    job = job_of(sessions, requested)
    in_transaction(sessions, lambda s: job_queries.release_job(s, job.id, job.fence))
    with pytest.raises(job_queries.LostLeaseError):
        put()  # another worker has it: the model is there, the row is not written
    assert names_of(Registry(settings.data_dir).list()) == ["bundled", "tuned-1"]
    assert read(sessions, requested.tuning_id).tuning.candidate_version_id is None
    assert folder.exists()


@pytest.mark.parametrize(
    ("policy", "verdict", "activates"),
    [
        (Policy.MANUAL, "better", False),
        (Policy.IF_BETTER, "better", True),
        (Policy.IF_BETTER, "no_difference", False),
        (Policy.IF_NOT_WORSE, "no_difference", True),
        (Policy.IF_NOT_WORSE, "worse", False),
        (Policy.IF_NOT_WORSE, "not_enough_to_tell", False),
    ],
)
def test_a_policy_activates_what_it_says(database_url, policy, verdict, activates):
    del database_url
    assert is_activated(policy, verdict) is activates


def test_a_policy_asks_for_one_activation(sessions, finished, other_bundle):
    requested, put = finished(policy=Policy.IF_BETTER)
    other_bundle(requested)

    put()

    with sessions() as session:
        (activation,) = session.query(Activation)
        assert activation.trigger is Trigger.POLICY
    assert job_of(sessions, requested).state is JobState.DONE


def test_what_cannot_be_activated_now_is_said(sessions, finished):
    requested, put = finished(policy=Policy.IF_BETTER)  # the candidate equals what is searched

    put()

    with sessions() as session:
        (notice,) = tuning_progress_queries.notices_of(session, requested.tuning_id)
    assert notice.reason == "not_activated"
    assert "already" in notice.text
    assert job_of(sessions, requested).state is JobState.DONE


@pytest.fixture
def other_bundle(storage):
    """Let the candidate of a run be another network."""
    from tests.factories_model import make_tiny_bundle  # noqa: PLC0415 (torch)

    def other(requested):
        folder = storage.tuning_folder(requested.tuning_id) / "bundle"
        shutil.rmtree(folder)
        make_tiny_bundle(folder, seed=7)

    return other


def test_processes_are_as_many_as_asked_but_never_more_than_pairs_allow(settings):
    of = settings.model_copy
    assert num_processes(of(update={"tuning_processes": 0}), 100) == 1  # device: cpu
    assert num_processes(of(update={"tuning_processes": 4}), 100) == 4
    assert num_processes(of(update={"tuning_processes": 4}), 5) == 2


def test_a_process_that_hangs_is_killed(sessions, ask, begin, monkeypatch):
    monkeypatch.setattr("workers.tuning.child.GRACE_S", 0.5)
    requested = ask(steps=LONG)
    thread = begin(requested)
    wait_for(lambda: steps_of(sessions, requested))
    (process,) = processes()
    os.kill(process.pid, signal.SIGSTOP)

    cancel_tuning(sessions, requested.tuning_id)
    thread.join(JOIN_S)

    assert not thread.is_alive()
    assert not process.is_running()
