"""Models over HTTP: another one takes over while searches go on, and the first comes back."""

import shutil
import threading
from functools import partial
from uuid import UUID, uuid4

import pytest

from service.encoder import read_facts
from service.registry import Registry
from tests.acceptance.api_server import ApiServer, poll, send_video
from tests.acceptance.test_api_errors import check_problem
from tests.factories import write_video
from tests.factories_model import make_tiny_bundle
from workers.activation import Patience, run
from workers.ingest import ingest
from workers.resources import Resources
from workers.runner import run_job

SWITCH_S = 90.0


@pytest.fixture
def other_bundle(tmp_path):
    """Another tiny model."""
    return make_tiny_bundle(tmp_path / "other-bundle", seed=5)


patiently = partial(run, patience=Patience(first_s=60.0))
"""Switches when the API has loaded the gallery anew, however slow the machine is."""


@pytest.fixture
def own_api(make_api):
    """An API of its own, with short segments."""
    api = make_api(segment_s=1.0, segment_every_s=1.0, embed_batch=4)
    api.wait_until_ready()
    return api


@pytest.fixture
def worker(own_api):
    """What a worker process holds."""
    with Resources(own_api.settings) as resources:
        yield resources


@pytest.fixture
def gallery(own_api, worker, tmp_path):
    """Two videos that are searched."""
    uploads = []
    with own_api.client() as client:
        for seconds in (2, 3):
            path = write_video(tmp_path / f"{seconds}.mp4", duration_s=seconds)
            uploads.append(send_video(client, path.read_bytes()).json())
            run_job(UUID(uploads[-1]["job_id"]), ingest, worker)
    return uploads


def add(api, bundle, name="other"):
    """Add a bundle to the models of the data folder."""
    with Registry(api.settings.data_dir).adding(name, replace=False) as draft:
        shutil.copytree(bundle, draft.folder)
        draft.describe(read_facts(draft.folder), source=str(bundle))


def models(client):
    return {model["name"]: model for model in client.get("/v1/models").json()["models"]}


def search(client):
    answer = client.post("/v1/search", json={"text": "a red ball"})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_model_takes_over_and_the_first_comes_back(own_api, worker, gallery, other_bundle):
    add(own_api, other_bundle)
    with own_api.client() as client:
        before = models(client)
        assert before["other"]["state"] == "available"
        assert before["other"]["origin"]["kind"] == "added"
        assert before["other"]["abilities"] == ["search", "rerank"]
        (first,) = (model for model in before.values() if model["state"] == "active")
        assert first["num_videos_embedded"] == 2
        poll(lambda: len({m["video_id"] for m in search(client)["moments"]}) == 2)

        asked = client.post(f"/v1/models/{before['other']['id']}/activate")
        assert asked.status_code == 202, asked.text
        activation = asked.json()["links"]["self"]
        assert asked.headers["location"] == activation
        assert not asked.json()["is_switched"]
        job_id = UUID(asked.json()["job_id"])
        working = threading.Thread(target=run_job, args=(job_id, patiently, worker))
        working.start()
        while working.is_alive():
            assert len({m["video_id"] for m in search(client)["moments"]}) == 2
            assert client.get(activation).json()["state"] in {"queued", "running", "done"}
        working.join()

        done = client.get(activation).json()
        assert (done["state"], done["percent"], done["eta_s"]) == ("done", 100.0, None)
        assert done["report"]["canary"]["is_passed"]
        assert done["report"]["warming"] == {"processes": 1, "warm": 1}
        assert models(client)["other"]["state"] == "active"
        assert models(client)[first["name"]]["state"] == "kept"
        poll(lambda: search(client)["receipt"]["generation_id"] == done["generation_id"])

        back = client.post(f"/v1/models/{first['id']}/activate", json={}).json()
        assert back["is_switched"]
        poll(lambda: search(client)["receipt"]["generation_id"] == first["generation_id"])
        listed = client.get("/v1/activations").json()["activations"]
        assert [one["model_name"] for one in listed] == [first["name"], "other"]
    assert len(gallery) == 2


def test_what_cannot_be_activated_is_refused_with_a_reason(own_api, gallery, other_bundle):
    add(own_api, other_bundle)
    with own_api.client() as client:
        known = models(client)
        (first,) = (model for model in known.values() if model["state"] == "active")
        check_problem(client.post(f"/v1/models/{uuid4()}/activate"), 404)
        active = client.post(f"/v1/models/{first['id']}/activate")
        check_problem(active, 409, "already_active")
        asked = client.post(f"/v1/models/{known['other']['id']}/activate").json()
        assert models(client)["other"]["state"] == "building"
        again = client.post(f"/v1/models/{known['other']['id']}/activate")
        check_problem(again, 409, "activation_running")

        cancelled = client.post(asked["links"]["cancel"])
        assert cancelled.json()["state"] == "cancelled"
        check_problem(client.post(asked["links"]["cancel"]), 409, "activation_over")
        check_problem(client.get(f"/v1/activations/{uuid4()}"), 404)
        assert models(client)["other"]["state"] == "available"
    assert gallery


def test_a_start_with_another_bundle_goes_on_with_what_the_videos_are_embedded_by(
    own_api, gallery, other_bundle, bundle_dir
):
    with own_api.client() as client:
        generation_id = search(client)["receipt"]["generation_id"]
        assert client.get("/v1/system").json()["notice"] is None
    poll(lambda: any((own_api.settings.data_dir / "models-kept").glob("*")))
    again = ApiServer(own_api.settings.model_copy(update={"bundle": other_bundle}))
    try:
        again.wait_until_ready()
        with again.client() as client:
            assert search(client)["receipt"]["generation_id"] == generation_id
            notice = client.get("/v1/system").json()["notice"]
            assert f"reelseek models add {other_bundle}" in notice
            assert client.get("/v1/system").json()["model"]["name"] == bundle_dir.name
    finally:
        again.stop()
    assert gallery
