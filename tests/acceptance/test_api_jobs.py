"""/v1/jobs: reading, listing, and streams of events."""

import json
import threading
from uuid import UUID

import pytest

from service.catalog.ingest_queries import commit_ingest
from service.catalog.job_queries import claim_job, fail_job, renew_lease
from service.catalog.session import in_transaction
from tests import factories
from tests.acceptance.api_server import TINY_DIM, poll
from tests.acceptance.test_api_errors import check_problem


class EventStream:
    """What an EventSource would see, read in a thread."""

    def __init__(
        self, api, job_id: str, last_event_id: str | None = None, *, path: str | None = None
    ) -> None:
        self.events: list[tuple[str, dict]] = []
        self.ids: list[str] = []
        self.has_ended = threading.Event()
        self._headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        path = path or f"/v1/jobs/{job_id}/events"
        self._thread = threading.Thread(target=self._read, args=(api, path), daemon=True)
        self._thread.start()

    def names(self) -> list[str]:
        return [name for name, _job in self.events]

    def _read(self, api, url: str) -> None:
        with api.client() as client, client.stream("GET", url, headers=self._headers) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in response.iter_lines():
                kind, _, value = line.partition(": ")
                if kind == "event":
                    name = value
                elif kind == "data":
                    self.events.append((name, json.loads(value)))
                elif kind == "id":
                    self.ids.append(value)
        self.has_ended.set()


@pytest.fixture
def working(api, queued):
    """A job that a worker has claimed."""
    job_id = UUID(queued["job_id"])
    return in_transaction(
        api.state.sessions, lambda session: claim_job(session, job_id, lease_s=60)
    )


def report(api, job, progress: float, stage: str) -> None:
    in_transaction(
        api.state.sessions,
        lambda session: renew_lease(
            session, job.id, job.fence, lease_s=60, progress=progress, stage=stage
        ),
    )


def finish(api, job) -> None:
    ingested = factories.derive(
        api.state.storage,
        job.subject_id,
        job.id,
        job.fence,
        count=1,
        vectors=factories.unit_vectors(1, dim=TINY_DIM),
    )
    in_transaction(
        api.state.sessions,
        lambda session: commit_ingest(session, job.id, job.fence, ingested),
    )


def test_a_job_says_how_far_it_is(api, client, working):
    report(api, working, 0.4, "embed")

    job = client.get(f"/v1/jobs/{working.id}").json()

    assert (job["state"], job["percent"], job["stage"]) == ("running", 40.0, "embed")
    assert (job["kind"], job["attempts"], job["video_id"]) == ("ingest", 1, str(working.subject_id))
    video = client.get(f"/v1/videos/{working.subject_id}").json()
    assert (video["state"], video["percent"], video["job_id"]) == (
        "processing",
        40.0,
        str(working.id),
    )
    newest = client.get("/v1/jobs?limit=5&state=running").json()["jobs"]
    assert str(working.id) in {one["id"] for one in newest}
    check_problem(client.get("/v1/jobs?limit=1000"), 422)
    check_problem(client.get("/v1/jobs?state=lost"), 422)


def test_a_stream_tells_progress_and_then_the_end(api, working):
    stream = EventStream(api, str(working.id))
    poll(lambda: stream.names() == ["progress"])

    report(api, working, 0.5, "decode")
    poll(lambda: len(stream.events) == 2)
    finish(api, working)
    assert stream.has_ended.wait(20)

    assert stream.names()[-1] == "end"
    assert set(stream.names()[:-1]) == {"progress"}
    assert stream.events[1][1]["percent"] == 50.0
    assert stream.events[-1][1]["state"] == "done"
    assert len(set(stream.ids)) == len(stream.ids)
    assert api.state.feed.num_streams == 0


def test_a_stream_of_a_job_that_failed_ends_with_the_reason(api, working):
    stream = EventStream(api, str(working.id))
    poll(lambda: stream.events)

    in_transaction(
        api.state.sessions,
        lambda session: fail_job(
            session, working.id, working.fence, reason="undecodable", detail="Nothing decodes."
        ),
    )

    assert stream.has_ended.wait(20)
    name, job = stream.events[-1]
    assert (name, job["state"], job["reason"]) == ("end", "failed", "undecodable")


def test_a_client_that_comes_back_gets_only_what_is_new(api, client, working):
    stream = EventStream(api, str(working.id))
    poll(lambda: stream.ids)

    again = EventStream(api, str(working.id), last_event_id=stream.ids[-1])
    report(api, working, 0.9, "embed")
    poll(lambda: again.events)
    assert again.events[0][1]["percent"] == 90.0
    finish(api, working)
    assert stream.has_ended.wait(20)
    assert again.has_ended.wait(20)

    for _ in range(2):  # EventSource connects again until it is told to stop
        response = client.get(
            f"/v1/jobs/{working.id}/events", headers={"Last-Event-ID": stream.ids[-1]}
        )
        assert response.status_code == 204


def test_a_stream_of_a_finished_job_says_so_and_ends(api, client, ready):
    response = client.get(f"/v1/jobs/{ready['job_id']}/events")

    assert response.text.startswith("event: end\n")
    assert api.state.feed.num_streams == 0


def test_streams_whose_clients_went_away_are_forgotten(api, client, working):
    for _ in range(3):
        with client.stream("GET", f"/v1/jobs/{working.id}/events") as response:
            next(response.iter_lines())
    report(api, working, 0.7, "embed")

    poll(lambda: api.state.feed.num_streams == 0)


def test_open_streams_end_when_the_server_stops(make_api, video_bytes):
    api = make_api()
    with api.client() as client:
        upload = client.post("/v1/videos", files={"file": ("a.mp4", video_bytes)}).json()
    streams = [EventStream(api, upload["job_id"]) for _ in range(40)]
    poll(lambda: api.state.feed.num_streams == 40)
    with api.client() as client:
        assert client.get("/v1/videos").is_success

    api.stop()

    for stream in streams:
        assert stream.has_ended.wait(10)
        assert stream.names() == ["progress"]
