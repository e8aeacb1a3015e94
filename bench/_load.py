"""Searches at a steady rate, whatever the server does."""

import http.client
import json
import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from _server import Server

TEXTS = tuple(
    f"a {colour} {shape} {does}"
    for colour in ("red", "green", "blue", "yellow")
    for shape in ("circle", "square", "star")
    for does in ("moves to the left", "grows", "appears")
)
CONNECTIONS = 64
IDLE_S = 2.0
"""uvicorn closes connections that were idle for 5 s."""


def new_text(number: int) -> str:
    """Return a text that was never asked before, so that nothing of it is cached."""
    return f"{TEXTS[number % len(TEXTS)]} {number}"


@dataclass(frozen=True)
class Asked:
    """One search of the load."""

    at_s: float
    took_ms: float
    text: str
    status: int
    answer: Mapping[str, Any]


class Load:
    """Searches on a fixed schedule, by as many connections as it takes.

    A slow answer delays no later question, and what a question waits for a connection is counted.
    """

    def __init__(self, server: Server, rate: float, depth: int) -> None:
        self._server, self._rate, self._depth = server, rate, depth
        self._began = time.monotonic()
        self._ends = threading.Event()
        self._asked: list[Asked] = []
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self._idle.put(_Connection(server.port))
        self._clock = threading.Thread(target=self._run)

    @property
    def now_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._began

    def start(self) -> None:
        """Begin to ask."""
        self._clock.start()

    def stop(self) -> list[Asked]:
        """End, and return everything that was asked."""
        self._ends.set()
        self._clock.join()
        return self._asked

    def _run(self) -> None:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            number = 0
            while not self._ends.wait(max(0.0, number / self._rate - self.now_s)):
                pool.submit(self._ask, number / self._rate, new_text(number))
                number += 1

    def _ask(self, at_s: float, text: str) -> None:
        connection = self._idle.get()
        body = json.dumps({"text": text, "rerank_depth": self._depth, "include_unsure": True})
        headers = {**self._server.headers, "Content-Type": "application/json"}
        try:
            status, answer = connection.post("/v1/search", body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            status, answer = 0, {"detail": str(error)}
        took_ms = (self.now_s - at_s) * 1000
        self._asked.append(Asked(at_s, took_ms, text, status, answer))
        self._idle.put(connection)


class _Connection:
    """One that is kept alive, but not used again when the server may be about to close it."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._used_at = 0.0

    def post(self, path: str, body: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Send a request; return status and JSON."""
        if time.monotonic() - self._used_at > IDLE_S:
            self._http.close()  # opened again by the request
        try:
            self._http.request("POST", path, body, headers)
            response = self._http.getresponse()
            found = response.status, json.loads(response.read())
        except BaseException:
            self._http.close()
            raise
        self._used_at = time.monotonic()
        return found
