"""The closed loop as an admin closes it: captions, a dry run, a run, its events, its candidate."""

import json

import psutil
import pytest

from tests.acceptance.live import LiveService, upload, wait_for, wait_until_processed
from tests.factories_captioned import captions_of
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video

pytestmark = [pytest.mark.slow, pytest.mark.alone]
WITHIN_S = 240.0
NUM_VIDEOS = 4


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A service with four captioned videos, whose tuning runs save themselves all the time."""
    folder = tmp_path_factory.mktemp("tuning")
    bundle = make_tiny_bundle(folder / "tiny")
    service = LiveService(
        folder / "data",
        {
            "REELSEEK_BUNDLE": str(bundle),
            "REELSEEK_TUNING_CHECKPOINT_S": "0.1",
            "REELSEEK_JOB_LEASE_S": "3",
            "REELSEEK_TORCH_THREADS": "1",
            "REELSEEK_DEVICE": "cpu",
        },
    )
    try:
        service.wait_until_ready()
        with service.client() as client:
            for number in range(NUM_VIDEOS):
                video = upload(client, make_video(folder / f"{number}.mp4", seed=number + 1))
                wait_until_processed(client, video["id"])
                for text in captions_of(number):
                    client.post(
                        f"/v1/videos/{video['id']}/captions", json={"text": text}
                    ).raise_for_status()
        yield service
    finally:
        service.stop()


@pytest.fixture
def client(live):
    with live.client() as client:
        yield client


def ask(client, **body) -> dict:
    answer = client.post("/v1/tunings", json={"hold_out": "captions", **body})
    assert answer.is_success, answer.text
    return answer.json()


def wait_for_end(client, asked) -> dict:
    """Wait until a run has ended; return it."""

    def look() -> dict | None:
        tuning = client.get(asked["links"]["self"]).json()
        return tuning if tuning["finished_at"] else None

    return wait_for(look, within_s=WITHIN_S, what="the end of the run")


def digest_of(client, tuning) -> str:
    models = {one["id"]: one for one in client.get("/v1/models").json()["models"]}
    return models[tuning["candidate_version"]["id"]]["digest"]


def points_of(client, asked) -> list[int]:
    curve = client.get(f"{asked['links']['self']}/points").json()
    return [point["step"] for point in curve["points"]]


def test_from_captions_to_a_candidate(client):
    dry = ask(client, steps=5, dry_run=True)
    assert dry["steps"] == 5
    assert dry["pairs"]["train"] + dry["pairs"]["held_out"] == 2 * NUM_VIDEOS

    asked = ask(client, steps=5, name="first")
    names, last = [], {}
    with client.stream("GET", asked["links"]["events"], timeout=WITHIN_S) as stream:
        for line in stream.iter_lines():
            kind, _, value = line.partition(": ")
            if kind == "event":
                names.append(value)
            elif kind == "data":
                last = json.loads(value)

    assert (names[-1], last["state"], last["percent"]) == ("end", "done", 100.0)
    assert names.count("point") == 5
    assert "progress" in names
    tuning = client.get(asked["links"]["self"]).json()
    assert tuning["candidate_version"]["name"] == "first"
    assert tuning["report"]["verdict"] == "not_enough_to_tell"
    assert tuning["report"]["held_out"]["texts"] == dry["pairs"]["held_out"]
    models = {one["name"]: one for one in client.get("/v1/models").json()["models"]}
    assert models["first"]["origin"] == {"kind": "tuning", "tuning_id": asked["id"]}
    assert models["first"]["state"] == "candidate"


def test_a_cancelled_run_leaves_no_process_and_no_model(client, live):
    asked = ask(client, steps=100_000, name="never")
    wait_for(lambda: points_of(client, asked), within_s=WITHIN_S, what="the first step")

    assert client.post(asked["links"]["cancel"]).is_success

    wait_for(lambda: not trainers(live), within_s=30, what="the end of the process")
    tuning = client.get(asked["links"]["self"]).json()
    assert (tuning["state"], tuning["candidate_version"]) == ("cancelled", None)
    assert "never" not in {one["name"] for one in client.get("/v1/models").json()["models"]}


def test_a_worker_killed_in_the_middle_comes_to_the_same_model(client, live):
    undisturbed = ask(client, steps=60, seed=5)
    digest = digest_of(client, wait_for_end(client, undisturbed))
    disturbed = ask(client, steps=60, seed=5)
    wait_for(
        lambda: 60 > max(points_of(client, disturbed), default=0) > 5,
        within_s=WITHIN_S,
        what="some steps",
    )
    (tuner,) = members(live, "tuner@")

    tuner.kill()

    tuning = wait_for_end(client, disturbed)
    assert tuning["state"] == "done"
    assert digest_of(client, tuning) == digest
    assert points_of(client, disturbed) == points_of(client, undisturbed)


def family(live) -> list[psutil.Process]:
    return psutil.Process(live.pid).children(recursive=True)


def trainers(live) -> list[psutil.Process]:
    """Return the processes that train now."""
    return members(live, "workers.tuning.process")


def members(live, word: str) -> list[psutil.Process]:
    """Return the processes of the service in whose command line this stands."""
    found = []
    for each in family(live):
        try:
            if any(word in part for part in each.cmdline()):
                found.append(each)
        except psutil.Error:  # it ended just now
            continue
    return found
