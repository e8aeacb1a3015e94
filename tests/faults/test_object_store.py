"""An object store that fails a fifth of all requests: nothing is lost, nothing doubled.

`make faults` sends 3,000 requests to it; `make test` a few (REELSEEK_FAULT_STORE_REQUESTS).
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run
from sys import executable
from uuid import uuid4

import httpx
import pytest

from tests.acceptance.live import LiveService, wait_for
from tests.factories import write_video
from tests.factories_model import make_tiny_bundle
from tests.failing_proxy import FailingProxy
from tests.object_store import make_bucket

REQUESTS = int(os.environ.get("REELSEEK_FAULT_STORE_REQUESTS", "120"))
SEED = int(os.environ.get("REELSEEK_FAULT_SEED", "1"))
SHARE = 0.2
WITHIN_S = 240.0
GRACE_S = 2.0
MOST_KEPT = 20  # all of them fit into one answer


@dataclass
class World:
    """What was acknowledged: the bytes of every video that is there, and the ids of those gone."""

    kept: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


@pytest.fixture
def proxy(object_store):
    with FailingProxy(object_store, seed=SEED).running() as proxy:
        yield proxy


@pytest.fixture
def environment(tmp_path, object_store, proxy):
    return {
        "REELSEEK_BUNDLE": str(make_tiny_bundle(tmp_path / "bundle")),
        "REELSEEK_STORAGE_URL": f"s3://{make_bucket(object_store)}/faults",
        "REELSEEK_S3_ENDPOINT": proxy.url,
        "REELSEEK_S3_REGION": "us-east-1",
        "REELSEEK_S3_ACCESS_KEY": "tests",
        "REELSEEK_S3_SECRET_KEY": "secret-of-the-tests",
        "REELSEEK_ORPHAN_GRACE_S": str(GRACE_S),
        "REELSEEK_SEGMENT_S": "1",
        "REELSEEK_SEGMENT_EVERY_S": "1",
    }


@pytest.fixture
def service(tmp_path, environment):
    live = LiveService(tmp_path / "data", environment)
    try:
        live.wait_until_ready()
        yield live
    finally:
        live.stop()


@pytest.mark.timeout(600 + REQUESTS)
def test_a_store_that_fails_a_fifth_of_all_requests_loses_nothing(
    *, service, proxy, environment, tmp_path
):
    draw, world = random.Random(SEED), World()
    proxy.share = SHARE
    with service.client() as client:
        while proxy.counts.total() < REQUESTS:
            for _upload in range(2):
                send(client, tmp_path, world)
            play(client, world, draw)
            while len(world.kept) > draw.randint(3, MOST_KEPT):
                delete(client, world, draw)
        proxy.share = 0.0
        failed = proxy.counts.total() - proxy.counts["ok"]
        counts = dict(sorted(proxy.counts.items()))
        wait_for(lambda: states(client) == {"ready"}, within_s=WITHIN_S, what="all ingests")
        wait_for(lambda: found(client) == set(world.kept), within_s=60, what="the index")
        for video_id in world.kept:
            play_one(client, world, video_id)
        assert all(client.get(f"/v1/videos/{gone}").status_code == 404 for gone in world.gone)
    assert failed > 0
    wait_for(
        lambda: not audit(service, environment), within_s=120, what="the sweep and a clean audit"
    )
    print(f"{counts} requests, {len(world.kept)} kept, {len(world.gone)} deleted")  # noqa: T201 (what `make faults` shows)


def send(client: httpx.Client, folder: Path, world: World) -> None:
    """Upload a new video, again until it is taken, as a client with an idempotency key does."""
    number = len(world.kept) + len(world.gone)
    size = (32 + 2 * (number % 150), 34 + 2 * (number // 150))
    content = write_video(folder / "video.mp4", duration_s=2, size=size).read_bytes()
    headers = {"Idempotency-Key": uuid4().hex}

    def try_once() -> httpx.Response | None:
        response = client.post("/v1/videos", files={"file": ("v.mp4", content)}, headers=headers)
        return None if away(response) else response

    response = wait_for(try_once, within_s=WITHIN_S, what="an upload")
    response.raise_for_status()
    assert not response.json()["is_duplicate"] or response.json()["id"] not in world.kept
    world.kept[response.json()["id"]] = content


def play(client: httpx.Client, world: World, draw: random.Random) -> None:
    """Play one that was taken."""
    if world.kept:
        play_one(client, world, draw.choice(sorted(world.kept)))


def play_one(client: httpx.Client, world: World, video_id: str) -> None:
    """Read all of a video, and a part of it; whatever is answered is right."""
    content = world.kept[video_id]

    def try_once() -> tuple[bytes, bytes] | None:
        url = f"/v1/videos/{video_id}/content"
        try:
            whole = client.get(url)
            part = client.get(url, headers={"Range": "bytes=100-299"})
        except httpx.RemoteProtocolError:  # the store went away within the answer
            return None
        return None if away(whole) or away(part) else (whole.content, part.content)

    assert wait_for(try_once, within_s=WITHIN_S, what="a video") == (content, content[100:300])


def delete(client: httpx.Client, world: World, draw: random.Random) -> None:
    """Delete one that was taken, whether it was ingested or not."""
    video_id = draw.choice(sorted(world.kept))
    client.delete(f"/v1/videos/{video_id}").raise_for_status()
    del world.kept[video_id]
    world.gone.add(video_id)


def away(response: httpx.Response) -> bool:
    """Tell whether the answer is that the store is away; any other failure is one."""
    if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
        response.raise_for_status()
        return False
    assert response.json()["reason"] == "storage_unavailable", response.text
    assert int(response.headers["retry-after"]) > 0
    return True


def states(client: httpx.Client) -> set[str]:
    """Return the states that videos are in."""
    listed = client.get("/v1/videos", params={"limit": 200}).json()
    return {video["state"] for video in listed["videos"]}


def found(client: httpx.Client) -> set[str]:
    """Return the videos that a search finds, each once."""
    asked = {"text": "a bar moves", "limit": 50, "group_by": "video"}
    moments = client.post("/v1/search", json=asked).raise_for_status().json()["moments"]
    videos = [moment["video_id"] for moment in moments]
    assert len(videos) == len(set(videos))
    return set(videos)


def audit(service: LiveService, environment: dict[str, str]) -> str:
    """Have the audit command look for anything that does not fit; return what it found."""
    done = run(
        [executable, "-m", "service.cli", "audit"],
        env={**os.environ, **environment, "REELSEEK_DATA_DIR": str(service.data_dir)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr if done.returncode else ""
