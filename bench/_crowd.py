"""What the clients of a load do: search, upload, upload slowly, and watch."""

import asyncio
import json
import random
import secrets
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from _load import new_text
from _server import Server
from _wire import CUT, Reply, Wire

DELIBERATE = {
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.INSUFFICIENT_STORAGE,
}
BOUNDARY = "load"
OPENING = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="load.mp4"\r\n\r\n'
).encode()
CLOSING = f"\r\n--{BOUNDARY}--\r\n".encode()
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
PADDING_BYTES = 32
SLOW_BYTES_PER_S = 4096
SLOW_PADDING_BYTES = (256 * 1024, 1792 * 1024)
"""Of different lengths, or all that began together would end at one moment."""


@dataclass
class Tally:
    """What became of one kind of request.

    Attributes:
        statuses: how often each came; 0 = the connection was cut.
        reasons: of refusals and errors.
        took_s: time of each that was answered with success, seconds.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)

    def add(self, reply: Reply, took_s: float) -> None:
        """Count one."""
        self.statuses[reply.status] += 1
        if HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
            self.took_s.append(took_s)
        elif reply.status:
            self.reasons[_reason_of(reply)] += 1

    @property
    def num_errors(self) -> int:
        """Answers that nobody meant."""
        return sum(
            count
            for status, count in self.statuses.items()
            if status == 0
            or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in DELIBERATE)
        )


class Crowd:
    """Clients that go on until they are told to end.

    Args:
        server: where to.
        video: bytes of a file, each upload of which becomes another video.
    """

    def __init__(self, server: Server, video: bytes) -> None:
        self._server = server
        self._video = video
        self._number = 0
        self.tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.num_streams = self.num_dripping = 0
        self._watching = self._dripping = 0

    async def search(self) -> None:
        """Ask one question after the other."""
        wire = Wire(self._server.port, self._server.headers)
        while True:
            self._number += 1
            body = json.dumps({"text": new_text(self._number), "include_unsure": True}).encode()
            ask = wire.ask("POST", "/v1/search", body, headers={"Content-Type": "application/json"})
            await self._count("search", ask)

    async def upload(self) -> None:
        """Upload one video after the other."""
        wire = Wire(self._server.port, self._server.headers)
        while True:
            body = OPENING + another(self._video, PADDING_BYTES) + CLOSING
            await self._count("upload", wire.ask("POST", "/v1/videos", body, headers=FORM))

    async def upload_slowly(self) -> None:
        """Upload one video after the other, each for minutes."""
        wire = Wire(self._server.port, self._server.headers)
        while True:
            padding = random.randint(*SLOW_PADDING_BYTES)
            body = OPENING + another(self._video, padding) + CLOSING
            await self._count("slow upload", self._drip(wire, body))

    async def watch(self, path: str) -> None:
        """Hold an event stream open."""
        wire = Wire(self._server.port, self._server.headers)
        while True:
            reply = CUT
            try:
                await wire.begin("GET", path, 0, {})
                status, headers = await wire.read_head()
                reply = Reply(status, headers, b"{}")
                if status == HTTPStatus.OK and wire.reader is not None:
                    self._watching += 1
                    try:
                        while await wire.reader.read(4096):
                            pass
                    finally:
                        self._watching -= 1
            except (OSError, asyncio.IncompleteReadError):
                pass
            await wire.close()
            self.tallies["stream"].add(reply, 0.0)
            await asyncio.sleep(reply.retry_after_s)

    def count_open(self) -> None:
        """Take note of what is open now."""
        self.num_streams, self.num_dripping = self._watching, self._dripping

    async def _drip(self, wire: Wire, body: bytes) -> Reply:
        self._dripping += 1
        try:
            await wire.begin("POST", "/v1/videos", len(body), FORM)
            for place in range(0, len(body), SLOW_BYTES_PER_S):
                if wire.writer is None or wire.reader is None or wire.reader.at_eof():
                    break
                wire.writer.write(body[place : place + SLOW_BYTES_PER_S])
                await wire.writer.drain()
                await asyncio.sleep(1)
        except OSError:
            pass  # an answer that came early can be read nevertheless
        finally:
            self._dripping -= 1
        reply = await wire.read()
        await wire.close()
        return reply

    async def _count(self, kind: str, asked: Awaitable[Reply]) -> None:
        began = time.monotonic()
        reply = await asked
        self.tallies[kind].add(reply, time.monotonic() - began)
        if reply.status in DELIBERATE or reply.status == 0:  # not all of them at the same moment
            await asyncio.sleep(reply.retry_after_s * random.uniform(1, 1.5))


async def run_for(
    seconds: float,
    clients: list[Callable[[], Awaitable[None]]],
    *,
    at_end: Callable[[], None],
) -> None:
    """Let clients run for a time; they begin one after the other, within seconds.

    Args:
        seconds: the time.
        clients: what each does; none ends by itself.
        at_end: called before they are ended.
    """
    tasks = []
    for client in clients:
        tasks.append(asyncio.ensure_future(client()))
        await asyncio.sleep(0.002)
    done, _ = await asyncio.wait(tasks, timeout=seconds)
    at_end()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:  # clients never end by themselves: it failed
        task.result()


def another(video: bytes, num_bytes: int) -> bytes:
    """Return the video with other bytes at its end, in an MP4 box that no reader opens."""
    return video + struct.pack(">I4s", 8 + num_bytes, b"free") + secrets.token_bytes(num_bytes)


def _reason_of(reply: Reply) -> str:
    try:
        return f"{reply.status} {json.loads(reply.body)['reason']}"
    except (ValueError, KeyError, TypeError):
        return f"{reply.status} (no problem document)"
