"""A TCP proxy before one server: it can be cut, made silent, or led elsewhere."""

import contextlib
import select
import socket
import threading
from enum import StrEnum

CHUNK = 65536
POLL_S = 0.2


class Line(StrEnum):
    """What the network between does."""

    OPEN = "open"
    CUT = "cut"
    """Connections break and new ones are refused."""
    SILENT = "silent"
    """Connections stay, and nothing comes through."""


class CuttableProxy:
    """Listens on a free loopback port of its own.

    Args:
        port: where the server is, on loopback.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self._line = Line.OPEN
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(POLL_S)
        self.port: int = self._listener.getsockname()[1]
        self._is_closed = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def set_line(self, line: Line) -> None:
        """Change what the network does, for the connections that are there as well."""
        self._line = line
        if line is Line.CUT:
            self.drop_all()

    def lead_to(self, port: int) -> None:
        """Send new connections to another server, and break those that are there."""
        self.target = port
        self.drop_all()

    def drop_all(self) -> None:
        """Break every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for one in pair:
                _close(one)

    def close(self) -> None:
        """Stop listening."""
        self._is_closed = True
        self._thread.join()
        self._listener.close()
        self.drop_all()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            if self._line is Line.CUT:
                _close(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=2)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)  # two threads use each socket, so no time limit may change
            with self._lock:
                self._pairs.add((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        while not self._is_closed:
            if self._line is Line.SILENT:
                threading.Event().wait(POLL_S)
                continue
            try:
                is_ready, _, _ = select.select([source], [], [], POLL_S)
                if not is_ready:
                    continue
                chunk = source.recv(CHUNK)
                if not chunk:
                    break
                sink.sendall(chunk)
            except (OSError, ValueError):  # it was closed, maybe while we waited
                break
        _close(source)
        _close(sink)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
