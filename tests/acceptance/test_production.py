"""The processes of docker-compose.yml, all of them, driven together with its own command lines.

They run on a real PostgreSQL, Redis and object store, with a second API beside the first.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.acceptance.live import upload, wait_for, wait_until_processed
from tests.factories_captioned import captions_of
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.hostile_servers import OtherServer, content, running_server
from tests.object_store import make_bucket
from tests.servers import empty_database, free_port

pytestmark = [pytest.mark.slow, pytest.mark.alone]

COMPOSE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
SERVICES = sorted(
    name
    for name, service in COMPOSE["services"].items()
    if service.get("command", [""])[0] == "reelseek"
    and "cpu" in service.get("profiles", ["cpu"])
    and name != "migrate"
)
ADMIN_KEY = "rsk_production_test_admin_key_0123456789"
STOP_S = 60.0
READY_S = 180.0
WITHIN_S = 240.0
ENDED = {"done", "failed", "cancelled"}


@dataclass
class Composition:
    """The running composition, and a second API on a port of its own."""

    folder: Path
    environment: Mapping[str, str]
    apis: tuple[httpx.Client, httpx.Client]
    others: OtherServer

    def events(self, service: str) -> list[dict]:
        """Return what a process wrote into its log."""
        return [
            json.loads(line)
            for line in (self.folder / f"{service}.log").read_text().splitlines()
            if line.endswith("}")  # the last may be half written
        ]


def run(environment: Mapping[str, str], *arguments: str, code: int = 0) -> str:
    """Run a command of `reelseek` and return what it printed."""
    done = subprocess.run(
        [program("reelseek"), *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def command_of(service: str) -> list[str]:
    """Return a command line of the composition."""
    name, *arguments = COMPOSE["services"][service]["command"]
    return [program(name), *arguments]


@contextmanager
def running(service: str, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run one service of the composition; it has to live until it is told to stop."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command_of(service),
            env=environment,
            start_new_session=True,
            stdout=output,
            stderr=output,
        )
    try:
        yield
        assert process.poll() is None, f"{service} ended:\n{log.read_text()[-3000:]}"
        process.terminate()
        code = process.wait(STOP_S)
        assert code in {0, -signal.SIGTERM}, f"{service} did not end in order: {code}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def database(postgres_server) -> Iterator[str]:
    """URL of an empty database."""
    with empty_database(postgres_server) as url:
        yield url


@pytest.fixture
def database_elsewhere(postgres_server) -> Iterator[str]:
    """URL of another empty database."""
    with empty_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Iterator[OtherServer]:
    """A server of somebody else: it has a video, and takes what webhooks send."""
    video = make_video(tmp_path_factory.mktemp("others") / "clip.mp4", seed=9).read_bytes()
    with running_server({"/clip.mp4": content(video), "/hook": content(b"")}) as server:
        yield server


@pytest.fixture(scope="module")
def environment(tmp_path_factory, database, redis_server, object_store) -> dict[str, str]:
    """What the composition tells each of its processes, and what a test must choose itself."""
    composed = COMPOSE["services"]["api"]["environment"]
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("REELSEEK_")},
        **composed,
        "OMP_NUM_THREADS": "1",
        "REELSEEK_ADMIN_KEY": ADMIN_KEY,
        "REELSEEK_BROKER_URL": redis_server,
        "REELSEEK_BUNDLE": str(make_tiny_bundle(tmp_path_factory.mktemp("bundle"))),
        "REELSEEK_DATABASE_URL": database,
        "REELSEEK_DATA_DIR": str(tmp_path_factory.mktemp("production")),
        "REELSEEK_METRICS_HOST": "127.0.0.1",
        "REELSEEK_METRICS_PORT": "0",
        "REELSEEK_OUTBOUND_ALLOW": "127.0.0.1",
        "REELSEEK_PORT": str(free_port()),
        "REELSEEK_S3_ACCESS_KEY": "tests",
        "REELSEEK_S3_ENDPOINT": object_store,
        "REELSEEK_S3_REGION": "us-east-1",
        "REELSEEK_S3_SECRET_KEY": "secret-of-the-tests",
        "REELSEEK_STORAGE_URL": f"s3://{make_bucket(object_store)}/reelseek",
    }


@pytest.fixture(scope="module")
def composition(tmp_path_factory, environment, others) -> Iterator[Composition]:
    """All services that the composition starts on a machine without a GPU, and a second API."""
    folder = tmp_path_factory.mktemp("logs")
    second = {**environment, "REELSEEK_PORT": str(free_port())}
    subprocess.run(command_of("migrate"), env=environment, check=True)
    with ExitStack() as stack:
        for service in SERVICES:
            stack.enter_context(running(service, environment, folder / f"{service}.log"))
        stack.enter_context(running("api", second, folder / "second.log"))
        clients = [
            stack.enter_context(
                httpx.Client(
                    base_url=f"http://127.0.0.1:{of['REELSEEK_PORT']}",
                    headers={"Authorization": f"Bearer {ADMIN_KEY}"},
                    timeout=60,
                    trust_env=False,
                )
            )
            for of in (environment, second)
        ]
        for client in clients:
            wait_for(lambda client=client: is_ready(client), within_s=READY_S, what="the start")
        yield Composition(folder, environment, (clients[0], clients[1]), others)


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def search(client: httpx.Client) -> dict:
    answer = client.post("/v1/search", json={"text": "a red circle", "limit": 50})
    assert answer.is_success, answer.text
    return answer.json()


def found(client: httpx.Client) -> set[str]:
    return {moment["video_id"] for moment in search(client)["moments"]}


def wait_for_end(client: httpx.Client, path: str) -> dict:
    def look() -> dict | None:
        one = client.get(path).json()
        return one if one["state"] in ENDED else None

    return wait_for(look, within_s=WITHIN_S, what=f"the end of {path}")


def test_the_composition_has_a_process_for_each_kind_of_work():
    assert SERVICES == ["api", "courier", "ingest", "tune"]


def test_what_one_api_takes_and_deletes_every_api_finds_and_forgets(composition, tmp_path):
    first, second = composition.apis
    path = make_video(tmp_path / "clip.mp4")
    accepted = upload(first, path)
    video_id = accepted["id"]
    assert wait_until_processed(second, video_id)["state"] == "ready"
    for client in composition.apis:
        wait_for(lambda client=client: video_id in found(client), within_s=60, what="the moment")
    played = second.get(f"/v1/videos/{video_id}/content")
    assert played.content == path.read_bytes()
    (done,) = {
        event["request_id"]
        for event in composition.events("ingest")
        if event.get("job_id") == accepted["job_id"] and "request_id" in event
    }
    assert done in {event.get("request_id") for event in composition.events("api")}

    assert second.delete(f"/v1/videos/{video_id}").is_success

    for client in composition.apis:
        wait_for(lambda client=client: video_id not in found(client), within_s=60, what="its end")


def test_a_video_is_fetched_and_a_webhook_is_told(composition):
    first, second = composition.apis
    address = composition.others.url
    hook = first.post("/v1/webhooks", json={"url": f"{address}/hook"})
    assert hook.is_success, hook.text
    asked = second.post("/v1/imports", json={"urls": [{"url": f"{address}/clip.mp4"}]})
    assert asked.is_success, asked.text

    def told() -> set[str]:
        seen = [body for _, path, _, body in composition.others.seen if path == "/hook"]
        return {json.loads(body)["type"] for body in seen}

    expected = {"import.finished", "video.ready"}
    wait_for(lambda: told() >= expected, within_s=WITHIN_S, what=f"{expected}")
    (file,) = first.get(f"/v1/imports/{asked.json()['id']}/items").json()["items"]
    assert file["state"] == "accepted"
    wait_for(lambda: file["video_id"] in found(first), within_s=60, what="the moment")
    assert first.delete(f"/v1/webhooks/{hook.json()['id']}").is_success


def test_a_model_is_tuned_and_taken_over_by_every_api(composition, tmp_path):
    first, second = composition.apis
    for number in range(4):
        video = upload(first, make_video(tmp_path / f"{number}.mp4", seed=number + 20))
        wait_until_processed(first, video["id"])
        for text in captions_of(number):
            said = first.post(f"/v1/videos/{video['id']}/captions", json={"text": text})
            assert said.is_success, said.text
    asked = second.post("/v1/tunings", json={"hold_out": "captions", "steps": 5, "name": "tuned"})
    assert asked.is_success, asked.text
    tuning = wait_for_end(first, f"/v1/tunings/{asked.json()['id']}")
    assert tuning["state"] == "done", tuning
    model = tuning["candidate_version"]["id"]
    before = found(first)

    switch = first.post(f"/v1/models/{model}/activate")
    assert switch.is_success, switch.text
    activation = wait_for_end(second, f"/v1/activations/{switch.json()['activation_id']}")

    assert activation["state"] == "done", activation
    for client in composition.apis:
        wait_for(
            lambda client=client: search(client)["receipt"]["model_version_id"] == model,
            within_s=WITHIN_S,
            what="searching with the new model",
        )
        assert found(client) == before


def test_a_backup_is_restored_elsewhere_and_nothing_is_left_to_mend(
    composition, database_elsewhere, object_store, tmp_path
):
    here = composition.environment
    elsewhere = {
        **here,
        "REELSEEK_DATABASE_URL": database_elsewhere,
        "REELSEEK_DATA_DIR": str(tmp_path / "data"),
        "REELSEEK_STORAGE_URL": f"s3://{make_bucket(object_store)}/restored",
    }
    folder = str(tmp_path / "backups")
    replicas = [word for api in composition.apis for word in ("--replica", str(api.base_url))]

    run(here, "backup", folder)
    run(here, "audit", "--key", ADMIN_KEY, *replicas)
    run(elsewhere, "restore", folder)
    run(elsewhere, "audit")

    checks = json.loads(run(here, "doctor", "--json", code=1))["checks"]
    (unsafe,) = (one for one in checks if one["mend"])
    assert (unsafe["name"], "fsync is off" in unsafe["finding"]) == ("Database", True)


def test_metrics_need_a_key_where_others_can_ask(composition):
    (client, _) = composition.apis
    assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401
    assert client.get("/metrics").status_code == 200
