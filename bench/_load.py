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
        self._idle: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
        for _ in range(CONNECTIONS):
            self._idle.put(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60))
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
            connection.request("POST", "/v1/search", body, headers)
            response = connection.getresponse()
            status, answer = response.status, json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            status, answer = 0, {"detail": str(error)}
        took_ms = (self.now_s - at_s) * 1000
        self._asked.append(Asked(at_s, took_ms, text, status, answer))
        self._idle.put(connection)
