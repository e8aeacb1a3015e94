"""An HTTP server before another one that fails a share of the requests, in every way it can."""

import contextlib
import http.client
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TIMEOUT_S = 60
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
FAILURES = ("500", "503", "cut_before", "answer_lost", "cut_within")


class FailingProxy:
    """Hands requests on, but for a share that fails.

    Args:
        url: of the server behind it.
        seed: draws what fails, and how.

    Attributes:
        share: of the requests that fail, 0 to 1.
        counts: how many went through (`ok`), and how many failed in which way.
    """

    def __init__(self, url: str, *, seed: int = 0) -> None:
        self.share = 0.0
        self.counts: Counter[str] = Counter()
        self._draw = random.Random(seed)
        self._lock = threading.Lock()
        self.behind = urlsplit(url).netloc
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,))

    def draw(self) -> str:
        """Return what becomes of the next request."""
        with self._lock:
            fate = "ok" if self._draw.random() >= self.share else self._draw.choice(FAILURES)
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


def _handler_of(proxy: FailingProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments):
            pass

        def handle(self):
            with contextlib.suppress(OSError):  # the client went away
                super().handle()

        def _serve(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            fate = proxy.draw()
            if fate == "cut_before":
                return self._cut()
            if fate in {"500", "503"}:
                return self._answer(int(fate), [], b"<Error><Code>InternalError</Code></Error>")
            behind = http.client.HTTPConnection(proxy.behind, timeout=TIMEOUT_S)
            with contextlib.closing(behind):
                behind.request(self.command, self.path, body, dict(self.headers))
                response = behind.getresponse()
                content = response.read()
            if fate == "answer_lost":
                return self._cut()
            headers = [each for each in response.getheaders() if each[0].lower() not in HOP_BY_HOP]
            length = response.getheader("content-length")
            if fate == "cut_within" and content:
                self._answer(response.status, headers, content[: len(content) // 2], length)
                return self._cut()
            return self._answer(response.status, headers, content, length)

        def _answer(self, status, headers, content, length=None):
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _cut(self):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 (its name)

    return Handler
