"""A line between a client and a server that is slow, breaks, and is mended."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

CHUNK = 64 * 1024


class BreakableLine:
    """Forwards TCP connections from a free loopback port to another one.

    Args:
        port: where the server listens.
        bytes_per_s: how much goes to the server, each second and connection.
    """

    def __init__(self, port: int, *, bytes_per_s: float) -> None:
        self.num_sent = 0
        self._target = port
        self._bytes_per_s = bytes_per_s
        self._is_broken = False
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator["BreakableLine"]:
        """Forward until the end of the block."""
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self.break_off()
            thread.join(10)

    def break_off(self) -> None:
        """Cut every connection; new ones are cut at once."""
        with self._lock:
            self._is_broken = True
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    # Closed with a reset: the client learns of it although it only sends
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let connections pass again."""
        with self._lock:
            self._is_broken = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                # A small window: what was sent but not forwarded is little
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CHUNK)
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            with self._lock:
                if self._is_broken:
                    return
                self._sockets |= {client, server}
            back = threading.Thread(target=self._forward, args=(server, client), daemon=True)
            back.start()
            self._forward(client, server, is_slow=True)
            back.join()
            with self._lock:
                self._sockets -= {client, server}

    def _forward(
        self, source: socket.socket, target: socket.socket, *, is_slow: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                target.sendall(data)
                if is_slow:
                    with self._lock:
                        self.num_sent += len(data)
                    time.sleep(len(data) / self._bytes_per_s)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
