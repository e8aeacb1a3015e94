"""Requests made from our own OpenAPI document, right ones and wrong ones: none may break anything.

`make faults` sends 100,000, `make test` some hundreds (REELSEEK_FAULT_REQUESTS).
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, Case, GenerationMode, SerializationContext
from schemathesis.errors import SchemathesisError

from tests.acceptance.live import upload, wait_for, wait_until_processed
from tests.factories_model import make_tiny_bundle
from tests.factories_video import make_video
from tests.faults.fleet import ADMIN_KEY, Fleet

REQUESTS = int(os.environ.get("REELSEEK_FAULT_REQUESTS", "600"))
SEED = int(os.environ.get("REELSEEK_FAULT_SEED", "1"))
HANGS_AFTER_S, FOUND_S = 90.0, 30.0
DELIBERATE = {503, 507}
"""Too busy, or no room: said on purpose, with what to do."""
KNOWN_SHARE = 0.5
MOST_MORE_MIB = 250
"""Caches fill up; what is lost at each request would be more after some thousands."""
LONG_ADDRESS = 30_000
"""The head of a request may be 64 KiB: then the server says 400 and hangs up."""
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@schemathesis.serializer("application/offset+octet-stream")
def write_piece(_context: SerializationContext, value: object) -> bytes:
    """Make the body of a piece of an upload from whatever was made up."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@dataclass
class Sender:
    """Sends made-up requests, and notes how they were answered.

    Args:
        url: of the API process.
        session: with an admin's key.
        known: things that are there, by the name that paths give them.
    """

    url: str
    session: requests.Session
    known: dict[str, list[str]]
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def send_all(self, operation: APIOperation, mode: GenerationMode, count: int) -> None:
        """Send so many requests of one operation."""
        draw = random.Random(f"{SEED} {operation.label} {mode}")

        @seeded(SEED)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            name_what_is_there(case, self.known, draw)
            self.send(case)

        # an operation without anything that could be wrong has no wrong requests
        none = (SchemathesisError, Unsatisfiable) if mode is GenerationMode.NEGATIVE else ()
        with suppress(*none):
            send()

    def send(self, case: Case) -> None:
        """Send one request."""
        try:
            answer = case.call(base_url=self.url, session=self.session, timeout=HANGS_AFTER_S)
        except (requests.RequestException, ValueError) as error:
            if not never_left(case, error):
                self.broken.append(f"{case.as_curl_command()}: {error!r}")
            return
        self.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code not in DELIBERATE:
            self.broken.append(f"{case.as_curl_command()} -> {answer.status_code} {answer.text}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("requests")
    settings = {
        "REELSEEK_BUNDLE": str(make_tiny_bundle(folder / "bundle")),
        "REELSEEK_ORPHAN_GRACE_S": "60",
    }
    with Fleet(folder, settings, apis=1, workers=1, couriers=1) as running:
        yield running


@pytest.mark.timeout(600 + REQUESTS // 10)
def test_no_request_of_the_schema_breaks_anything(fleet, tmp_path):
    with fleet.client() as client:
        known = make_known(client, tmp_path)
        before = resources_of(fleet)
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        operations = [one.ok() for one in schema.get_all_operations()]
        # what is there must still be there when the others name it
        operations.sort(key=lambda one: one.method.upper() == "DELETE")
        each = max(1, -(-REQUESTS // (len(operations) * len(MODES))))
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
            session.trust_env = False
            sender = Sender(fleet.url(), session, known)
            for operation in operations:
                for mode in MODES:
                    sender.send_all(operation, mode, each)
        assert not sender.broken, "\n".join(sender.broken)
        check_that_it_lives(client, tmp_path)
    after = resources_of(fleet)
    print(f"{sender.statuses.total()} requests: {dict(sender.statuses)}; {before} -> {after}")  # noqa: T201 (for `make faults`)
    assert after["files"] < before["files"] + 50
    assert after["mib"] < before["mib"] + MOST_MORE_MIB
    assert all(member.process.poll() is None for member in fleet.members.values())
    assert fleet.starts == len(fleet.members)
    fleet.audit()


def never_left(case: Case, error: Exception) -> bool:
    """Whether the client itself refused to send it, or the server to read an address so long."""
    if len(case.as_curl_command()) > LONG_ADDRESS:
        return True
    refusals = (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, ValueError)
    return isinstance(error, refusals) and not isinstance(error, requests.ConnectionError)


def name_what_is_there(case: Case, known: dict[str, list[str]], draw: random.Random) -> None:
    """Let many requests name things that exist: else all of them end at "not found"."""
    for name, values in known.items():
        if name in case.path_parameters and draw.random() < KNOWN_SHARE:
            case.path_parameters[name] = draw.choice(values)


def make_known(client: httpx.Client, folder: Path) -> dict[str, list[str]]:
    """Make some of each thing that paths name."""
    videos, jobs = [], []
    for number in range(4):
        accepted = upload(client, make_video(folder / f"{number}.mp4", seconds=1.0 + number))
        videos.append(str(accepted["id"]))
        jobs.append(str(accepted["job_id"]))
        wait_until_processed(client, accepted["id"])
    asked = [{"text": "a number", "video_id": videos[0]}]
    sets = client.post("/v1/evaluation-sets", json={"name": "requests", "queries": asked}).json()
    models = client.get("/v1/models").json()["models"]
    caption = {"text": "a number", "start_s": 0.0, "end_s": 1.0}
    captions = client.post(f"/v1/videos/{videos[0]}/captions", json=caption).json()
    keys = client.post("/v1/keys", json={"name": "requests", "scopes": ["read"]}).json()
    hooks = [
        client.post("/v1/webhooks", json={"url": f"https://hooks.example/{number}"}).json()
        for number in range(2)
    ]
    return {
        "video_id": videos,
        "job_id": jobs,
        "set_id": [sets["id"]],
        "model_id": [one["id"] for one in models],
        "caption_id": [captions["id"]],
        "key_id": [keys["id"]],
        "webhook_id": [one["id"] for one in hooks],
        "ordinal": ["0", "1"],
    }


def check_that_it_lives(client: httpx.Client, folder: Path) -> None:
    """Upload one more video, and find it."""
    accepted = upload(client, make_video(folder / "last.mp4", seconds=6.0))
    assert wait_until_processed(client, accepted["id"])["state"] == "ready"

    def is_found() -> bool:
        answer = client.post("/v1/search", json={"text": "a number", "limit": 100})
        return accepted["id"] in [one["video_id"] for one in answer.json()["moments"]]

    wait_for(is_found, within_s=FOUND_S, what="the last video among the moments")


def resources_of(fleet: Fleet) -> dict[str, int]:
    """Return what the API process holds."""
    process = psutil.Process(fleet.members["api-0"].process.pid)
    return {
        "mib": process.memory_info().rss // 2**20,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }
