"""An HTTP server before another one that fails a share of the requests, in every way it can."""

import contextlib
import http.client
import itertools
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TIMEOUT_S = 60
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
FAILURES = ("500", "503", "cut_before", "answer_lost", "cut_within")


class FailingProxy:
    """Hands requests on, but for a share that fails.

    Args:
        url: of the server behind it.
        seed: draws what fails.

    Attributes:
        share: of the requests that fail, 0 to 1.
        is_down: whether all fail, without reaching the server.
        counts: how many went through (`ok`), and how many failed in which way.
    """

    def __init__(self, url: str, *, seed: int = 0) -> None:
        self.share = 0.0
        self.is_down = False
        self.counts: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._failures = itertools.cycle(FAILURES)
        self._lock = threading.Lock()
        self.behind = urlsplit(url).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))

    def draw(self) -> str:
        """Return what becomes of the next request."""
        with self._lock:
            fate = "ok" if self._draw.random() >= self.share else next(self._failures)
            fate = "cut_before" if self.is_down else fate
            self.counts[fate] += 1
            return fate

    @contextlib.contextmanager
    def running(self) -> Iterator["FailingProxy"]:
        """Serve while the context lasts."""
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FailingProxy, *arguments) -> None:
        self.proxy = proxy
        super().__init__(*arguments)

    def log_message(self, *_arguments) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client went away
            super().handle()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fate = self.proxy.draw()
        if fate == "cut_before":
            self._cut()
        elif fate in {"500", "503"}:
            self._answer(int(fate), [], b"<Error><Code>InternalError</Code></Error>")
        else:
            self._hand_on(body, fate)

    def _hand_on(self, body: bytes, fate: str) -> None:
        behind = http.client.HTTPConnection(self.proxy.behind, timeout=TIMEOUT_S)
        with contextlib.closing(behind):
            behind.request(self.command, self.path, body, dict(self.headers))
            response = behind.getresponse()
            content = response.read()
        headers = [each for each in response.getheaders() if each[0].lower() not in HOP_BY_HOP]
        length = response.getheader("content-length")
        if fate == "ok":
            self._answer(response.status, headers, content, length)
            return
        if fate == "cut_within" and content:
            self._answer(response.status, headers, content[: len(content) // 2], length)
        self._cut()

    def _answer(self, status: int, headers: list, content: bytes, length=None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 (its name)
