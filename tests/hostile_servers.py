"""HTTP servers of others, polite and hostile, on free loopback ports."""

import contextlib
import datetime as dt
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Route = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request, and what a route may do with it."""

    def send(
        self, status: int = 200, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer as a polite server does."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def answer(self) -> None:
        """Hand the request to its route."""
        server: OtherServer = self.server  # type: ignore[assignment]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.seen.append((self.command, self.path, dict(self.headers), body))
        route = server.routes.get(self.path.partition("?")[0])
        if route is None:
            self.send(404)
            return
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # the client has had enough
            route(self)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class OtherServer(ThreadingHTTPServer):
    """A server whose routes a test writes; `seen` is what came."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.routes: dict[str, Route] = {}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.stopped = threading.Event()
        super().__init__((host, 0), Exchange)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_arguments: object) -> None:
        """Say nothing of clients that go away."""


@contextlib.contextmanager
def running_server(routes: Mapping[str, Route] | None = None) -> Iterator[OtherServer]:
    """Run a server with these routes."""
    with OtherServer() as server:
        server.routes.update(routes or {})
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()


def content(body: bytes, **headers: str) -> Route:
    """Answer with a body."""
    return lambda exchange: exchange.send(body=body, headers=headers)


def redirect(location: str, status: int = 302) -> Route:
    """Send the client elsewhere."""
    return lambda exchange: exchange.send(status, headers={"Location": location})


def endless(chunk: bytes = b"x" * 65536) -> Route:
    """Answer with a body that never ends and announces no length."""

    def route(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        while not exchange.server.stopped.is_set():
            exchange.wfile.write(chunk)

    return route


def trickle(every_s: float = 0.05) -> Route:
    """Answer with a byte now and then, so that no wait for one is long."""

    def route(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        while not exchange.server.stopped.wait(every_s):
            exchange.wfile.write(b"x")

    return route


def trickle_headers(every_s: float = 0.05) -> Route:
    """Answer with headers that never end."""

    def route(exchange: Exchange) -> None:
        exchange.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not exchange.server.stopped.wait(every_s):
            exchange.wfile.write(b"X-More: 1\r\n")

    return route


def silent(for_s: float = 30) -> Route:
    """Say nothing."""
    return lambda exchange: exchange.server.stopped.wait(for_s)


def hang_up(exchange: Exchange) -> None:
    """End the connection in the middle of a body."""
    exchange.send_response(200)
    exchange.send_header("Content-Length", "1000")
    exchange.end_headers()
    exchange.wfile.write(b"x" * 10)
    exchange.close_connection = True


def use_tls(server: OtherServer, folder: Path, *names: str) -> ssl.SSLContext:
    """Let a server speak TLS with a certificate for these names; return who trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = dt.datetime.fromtimestamp(time.time(), dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([_general(each) for each in names]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + pem
    )
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(path)
    server.socket = own.wrap_socket(server.socket, server_side=True)
    return ssl.create_default_context(cadata=pem.decode())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
