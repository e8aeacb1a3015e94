"""Steady uploads, deletes and searches, and what the service has acknowledged of them."""

import io
import random
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from uuid import uuid4

import httpx

from tests.acceptance.live import wait_for
from tests.faults.fleet import Fleet, insist

MOST_LIVE = 40
ANSWER_S = 180.0
SETTLED_S = 120.0


@dataclass
class Ledger:
    """What the service has acknowledged, and what it has broken."""

    live: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, video_id: str) -> None:
        """Take note of an upload that was acknowledged."""
        with self.lock:
            if video_id in self.live or video_id in self.deleted:
                self.broken.append(f"two uploads are one video, {video_id}")
            self.live.add(video_id)
            self.counts["uploads"] += 1

    def delete(self, video_id: str) -> None:
        """Take note of a delete that was acknowledged."""
        with self.lock:
            self.live.discard(video_id)
            self.deleted.add(video_id)
            self.counts["deletes"] += 1


class Load:
    """Uploads, deletes and searches that go on until they are told to stop."""

    def __init__(self, fleet: Fleet, ledger: Ledger, video: bytes, draw: random.Random) -> None:
        self._fleet = fleet
        self._ledger = ledger
        self._video = video
        self._draw = draw
        self._has_ended = threading.Event()
        works = (self._upload, self._upload, self._delete, self._search)
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in works]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Let what was begun come to its end."""
        self._has_ended.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, work: Callable[[], None]) -> None:
        try:
            while not self._has_ended.is_set():
                work()
        except Exception as error:  # noqa: BLE001 (the test fails with it)
            self._ledger.broken.append(f"{work.__name__}: {error!r}")

    def _upload(self) -> None:
        if len(self._ledger.live) >= MOST_LIVE:
            time.sleep(0.1)
            return
        content, headers = unique(self._video), {"Idempotency-Key": uuid4().hex}

        def send() -> httpx.Response:
            with self._any() as client:
                file = {"file": ("clip.mp4", io.BytesIO(content))}
                return client.post("/v1/videos", files=file, headers=headers)

        answer = self._insist(send)
        if answer.status_code != 202:
            self._ledger.broken.append(f"an upload was answered {answer.text}")
            return
        self._ledger.accept(answer.json()["id"])

    def _delete(self) -> None:
        time.sleep(self._draw.uniform(0, 0.5))
        with self._ledger.lock:
            known = sorted(self._ledger.live)
        if len(known) < MOST_LIVE // 2:
            return
        video_id = self._draw.choice(known)

        def send() -> httpx.Response:
            with self._any() as client:
                return client.delete(f"/v1/videos/{video_id}")

        answer = self._insist(send)
        if answer.status_code not in {204, 404}:  # 404: the answer to the first try was lost
            self._ledger.broken.append(f"a delete was answered {answer.text}")
        self._ledger.delete(video_id)

    def _search(self) -> None:
        with self._ledger.lock:
            gone = frozenset(self._ledger.deleted)

        def send() -> httpx.Response:
            with self._any() as client:
                return client.post("/v1/search", json={"text": "a number", "limit": 100})

        found = videos_in(self._insist(send))
        self._ledger.counts["searches"] += 1
        if back := gone.intersection(found):
            self._ledger.broken.append(f"deleted videos were found: {sorted(back)}")

    @contextmanager
    def _any(self) -> Iterator[httpx.Client]:
        with self._fleet.client(self._draw.randrange(self._fleet.apis)) as client:
            yield client

    def _insist(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        tries = 0

        def ask() -> httpx.Response:
            nonlocal tries
            tries += 1
            return send()

        answer = insist(ask, within_s=ANSWER_S, what="an answer")
        self._ledger.counts["tries again"] += tries - 1
        return answer


def check_everything(fleet: Fleet, ledger: Ledger) -> None:
    """Compare what was acknowledged with what is there, once it has come to rest."""
    broken, ledger.broken = ledger.broken, []
    assert not broken, "\n".join(broken)
    fleet.wait_until_ready()
    for number in range(fleet.apis):
        with fleet.client(number) as client:
            wait_for(lambda: is_settled(client), within_s=SETTLED_S, what="the end of all jobs")
            states = {one["id"]: one["state"] for one in listed(client)}
            assert states == dict.fromkeys(ledger.live, "ready")
            wait_for(lambda: has_caught_up(client), within_s=SETTLED_S, what="the replica")
            answer = client.post("/v1/search", json={"text": "a number", "limit": 100})
            assert set(videos_in(answer)) == ledger.live
            starts = [(one["video_id"], one["start_s"]) for one in answer.json()["moments"]]
            assert len(starts) == len(set(starts))  # each exactly once
            for video_id in sorted(ledger.deleted)[-20:]:
                assert client.get(f"/v1/videos/{video_id}").status_code == 404
    fleet.audit()


def unique(video: bytes) -> bytes:
    """Return the same video as another file: with a box at its end that players skip."""
    return video + struct.pack(">I4s16s", 24, b"free", uuid4().bytes)


def videos_in(answer: httpx.Response) -> list[str]:
    answer.raise_for_status()
    return [moment["video_id"] for moment in answer.json()["moments"]]


def listed(client: httpx.Client) -> list[dict]:
    answer = client.get("/v1/videos", params={"limit": 100})
    answer.raise_for_status()
    return answer.json()["videos"]


def is_settled(client: httpx.Client) -> bool:
    answer = client.get("/v1/system")
    jobs = answer.json()["jobs"] if answer.is_success else {"queued": 1}
    return not jobs.get("queued") and not jobs.get("running")


def has_caught_up(client: httpx.Client) -> bool:
    answer = client.get("/v1/system")
    return answer.is_success and answer.json()["replica"]["lag"] == 0
