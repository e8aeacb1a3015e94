"""/v1/tunings without a worker: asking, refusing, watching, cancelling."""

from uuid import UUID, uuid4

import pytest

from service.catalog import tuning_progress_queries
from service.catalog.job_queries import claim_job, renew_lease
from service.catalog.session import in_transaction
from tests.acceptance.api_server import poll, send_video
from tests.acceptance.test_api_errors import check_problem
from tests.acceptance.test_api_jobs import EventStream
from tests.factories import write_video
from tests.factories_captioned import captions_of

POINT = {"losses": {"contrastive": 1.0}, "learning_rate": 1e-4, "pairs_per_s": 9.0, "eta_s": 5.0}


@pytest.fixture
def api(make_api):
    """An API of its own: what others say of videos must not count here."""
    running = make_api()
    running.wait_until_ready()
    return running


@pytest.fixture
def videos(api, client, tmp_path):
    """Ids of four searchable videos with two captions each."""
    ids = []
    for number in range(4):
        path = write_video(tmp_path / f"{number}.mp4", size=(32 + 2 * number, 34))
        queued = send_video(client, path.read_bytes(), name=path.name).json()
        api.ingest(queued, count=1, seed=number)
        for text in captions_of(number):
            said = client.post(f"/v1/videos/{queued['id']}/captions", json={"text": text})
            assert said.status_code == 201
        ids.append(queued["id"])
    return ids


def claim(api, asked):
    return in_transaction(
        api.state.sessions, lambda s: claim_job(s, UUID(asked["job_id"]), lease_s=60)
    )


def work(api, job, **points):
    """Do what a worker does after a second of steps."""

    def write(session):
        own = session, job.id, job.fence
        renew_lease(*own, lease_s=60, stage="training", progress=0.5)
        taken = {int(name[1:]): {**POINT, "loss": loss} for name, loss in points.items()}
        tuning_progress_queries.add_points(*own, taken)
        tuning_progress_queries.add_notice(*own, reason="left_out", text="Pair 3: no frames.")

    in_transaction(api.state.sessions, write)


def test_an_empty_request_is_enough(client, videos):
    answer = client.post("/v1/tunings", json={})

    assert answer.status_code == 202
    asked = answer.json()
    assert answer.headers["location"] == asked["links"]["self"] == f"/v1/tunings/{asked['id']}"
    tuning = client.get(asked["links"]["self"]).json()
    assert (tuning["state"], tuning["stage"], tuning["percent"]) == ("queued", None, 0.0)
    assert tuning["job_id"] == asked["job_id"]
    assert tuning["candidate_version"] is None
    assert tuning["report"] is None
    assert tuning["request"]["hold_out"] == "videos"
    counts = tuning["plan"]["pairs"]
    assert counts["train"] + counts["held_out"] == 2 * len(videos)
    job = client.get(asked["links"]["job"]).json()
    assert (job["kind"], job["subject_id"], job["video_id"]) == ("tune", asked["id"], None)


def test_without_captions_it_says_what_to_do(client):
    problem = check_problem(client.post("/v1/tunings", json={}), 409)
    assert problem["reason"] == "no_pairs"
    assert "/captions" in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"recipe": "magic"},
        {"steps": 0},
        {"steps": 1.5},
        {"epochs": 0.5},
        {"epochs": 2, "steps": 5},
        {"batch": 1},
        {"learning_rate": 0},
        {"word_dropout": 2},
        {"held_out_share": 1},
        {"hold_out": "everything"},
        {"policy": "always"},
        {"filter": {"sources": ["rumours"]}},
        {"filter": {"video_ids": ["x"]}},
        {"stepps": 3},
        {"seed": -1},
    ],
)
def test_a_field_that_makes_no_sense_is_named(client, body):
    problem = check_problem(client.post("/v1/tunings", json=body), 422)
    assert next(iter(body)) in problem["errors"][0]["path"]


def test_only_admins_tune_and_readers_look(api, client, videos):  # noqa: ARG001
    asked = client.post("/v1/tunings", json={}).json()
    made = client.post("/v1/keys", json={"name": "r", "scopes": ["read", "write", "search"]}).json()
    with api.client(made["key"]) as reader:
        check_problem(reader.post("/v1/tunings", json={}), 403)
        check_problem(reader.post(asked["links"]["cancel"]), 403)
        assert reader.get(asked["links"]["self"]).is_success
        assert reader.get("/v1/tunings").json()["tunings"][0]["id"] == asked["id"]


def test_runs_are_listed_in_pages(client, videos):  # noqa: ARG001
    asked = [client.post("/v1/tunings", json={"seed": seed}).json()["id"] for seed in range(3)]

    first = client.get("/v1/tunings", params={"limit": 2}).json()
    rest = client.get("/v1/tunings", params={"limit": 2, "cursor": first["next_cursor"]}).json()

    assert [one["id"] for one in first["tunings"] + rest["tunings"]] == asked[::-1]
    assert rest["next_cursor"] is None
    check_problem(client.get("/v1/tunings", params={"cursor": "x.y"}), 400)
    check_problem(client.get(f"/v1/tunings/{uuid4()}"), 404)
    check_problem(client.get(f"/v1/tunings/{uuid4()}/points"), 404)
    check_problem(client.get(f"/v1/tunings/{uuid4()}/events"), 404)
    check_problem(client.post(f"/v1/tunings/{uuid4()}/cancel"), 404)


def test_a_stream_tells_points_notices_and_the_end(api, client, videos):  # noqa: ARG001
    asked = client.post("/v1/tunings", json={}).json()
    job = claim(api, asked)
    stream = EventStream(api, asked["id"], path=asked["links"]["events"])
    poll(lambda: "progress" in stream.names())

    work(api, job, s1=2.0, s2=1.5)
    poll(lambda: stream.names().count("point") == 2)
    work(api, job, s3=1.0)
    poll(lambda: stream.names().count("point") == 3)
    assert client.post(asked["links"]["cancel"]).json()["state"] == "cancelled"
    assert stream.has_ended.wait(20)

    told = [body["step"] for name, body in stream.events if name == "point"]
    assert told == [1, 2, 3]
    assert stream.names().count("notice") == 1
    assert stream.names()[-1] == "end"
    training = [body for name, body in stream.events if name == "progress"][-1]
    assert (training["stage"], training["percent"], training["eta_s"]) == ("training", 50.0, 5.0)

    again = EventStream(api, asked["id"], stream.ids[1], path=asked["links"]["events"])
    assert again.has_ended.wait(20)
    seen = next(i for i, id_ in enumerate(stream.ids) if id_ == stream.ids[1])
    assert len(again.events) <= len(stream.events) - seen
    over = client.get(asked["links"]["events"], headers={"Last-Event-ID": stream.ids[-1]})
    assert over.status_code == 204

    curve = client.get(f"{asked['links']['self']}/points", params={"after_step": 1}).json()
    assert [point["step"] for point in curve["points"]] == [2, 3]
    assert curve["notices"][0]["reason"] == "left_out"


def test_a_run_is_cancelled_once(client, videos):  # noqa: ARG001
    asked = client.post("/v1/tunings", json={}).json()

    assert client.post(asked["links"]["cancel"]).json()["state"] == "cancelled"

    problem = check_problem(client.post(asked["links"]["cancel"]), 409)
    assert problem["reason"] == "already_ended"


@pytest.mark.alone
def test_a_dry_run_measures_and_starts_nothing(client, videos):  # noqa: ARG001
    answer = client.post("/v1/tunings", json={"dry_run": True, "steps": 7})

    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["steps"] == 7
    assert told["pairs"]["train"] + told["pairs"]["held_out"] == 8
    assert told["estimated_s"] > 0
    assert told["estimated_memory_bytes"] > 0
    assert any("not enough to tell" in warning for warning in told["warnings"])
    assert client.get("/v1/tunings").json()["tunings"] == []


@pytest.mark.alone
def test_a_dry_run_says_why_the_run_would_fail(client, videos):  # noqa: ARG001
    body = {"dry_run": True, "frozen": ["nothing_has_this_name"]}
    problem = check_problem(client.post("/v1/tunings", json=body), 409)
    assert "nothing_has_this_name" in problem["detail"]
