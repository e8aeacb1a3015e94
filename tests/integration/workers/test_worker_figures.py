"""What a running worker tells Prometheus, the table of processes and its log."""

import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.contextvars import bound_contextvars

from service.catalog.process_queries import read_processes
from service.catalog.tables import JobState
from service.jobs import Queue
from tests.factories_ingest import running_worker, wait_for, wait_for_state
from workers.visible import kind_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def settings(settings):
    """Figures on a free port, lines as JSON."""
    return settings.model_copy(update={"metrics_port": 0, "log_json": True})


def lines(worker):
    return [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]


def events(worker, name):
    return [line for line in lines(worker) if line["event"] == name]


def figures(port):
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return lambda name, **labels: sum(
        one.value for one in samples if one.name == name and labels.items() <= one.labels.items()
    )


def test_a_worker_shows_that_it_lives_and_what_it_did(
    *, upload_file, make_video, settings, sessions, tmp_path
):
    with bound_contextvars(request_id="request-of-the-good-one"):
        good = upload_file(make_video("good.mp4", duration_s=3))
    nonsense = tmp_path / "nonsense.mp4"
    nonsense.write_bytes(b"no video" * 100)
    bad = upload_file(nonsense)

    with running_worker(settings, tmp_path / "worker.log") as worker:
        wait_for_state(sessions, good.job_id, JobState.DONE)
        wait_for_state(sessions, bad.job_id, JobState.FAILED)
        (served,) = events(worker, "metrics_served")
        figure = figures(served["port"])
        done = ("reelseek_job_seconds_count", {"kind": "ingest", "outcome": "done"})
        wait_for(lambda: figures(served["port"])(done[0], **done[1]) == 1)
        figure = figures(served["port"])
        with sessions() as session:
            processes = read_processes(session)
        assert worker.stop() == 0

    assert figure("reelseek_clips_embedded_total") == 3
    for stage in ("decode", "embed", "commit"):
        assert figure("reelseek_ingest_stage_seconds_count", stage=stage) == 1
    assert figure("reelseek_decode_failures_total", reason="not_a_video", extent="whole") == 1
    assert figure("reelseek_job_failures_total", kind="ingest", reason="not_a_video") == 1
    assert figure("reelseek_sweep_seconds_count") > 0
    assert figure("reelseek_process_resident_memory_bytes") > 0
    assert [(one.kind, one.pid, one.is_alive) for one in processes] == [
        ("worker", worker.process.pid, True)
    ]
    with sessions() as session:
        assert read_processes(session) == []  # it stopped in good order
    (ingested,) = [
        line for line in events(worker, "video_ingested") if line["job_id"] == str(good.job_id)
    ]
    assert ingested["request_id"] == "request-of-the-good-one"
    assert ingested["video_id"] == str(good.video_id)


def test_a_port_that_is_taken_does_not_keep_a_worker_from_work(
    *, upload_file, make_video, settings, sessions, tmp_path
):
    with running_worker(settings, tmp_path / "first.log") as first:
        wait_for(lambda: events(first, "metrics_served"))
        port = events(first, "metrics_served")[0]["port"]
        same = settings.model_copy(update={"metrics_port": port})
        with running_worker(same, tmp_path / "second.log") as second:
            wait_for(lambda: events(second, "metrics_not_served"))
            first.kill()
            accepted = upload_file(make_video())
            wait_for_state(sessions, accepted.job_id, JobState.DONE)


@pytest.mark.parametrize(
    ("queues", "kind"),
    [
        ((Queue.INGEST, Queue.MAINTENANCE), "worker"),
        ((Queue.TUNING, Queue.BACKGROUND), "tuner"),
        ((Queue.ERRANDS,), "courier"),
        (tuple(Queue), "worker"),
    ],
)
@pytest.mark.usefixtures("database_url")
def test_workers_are_known_by_their_queues(queues, kind):
    assert kind_of({str(queue) for queue in queues}) == kind
