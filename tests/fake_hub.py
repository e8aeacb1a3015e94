"""A hub of models on a loopback port: as much of its HTTP interface as a download needs."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar, Self

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves the folders below one as repositories `owner/name`. A context manager.

    `owner/gated` is gated; what has no folder is unknown.
    """

    def __init__(self, folder: Path) -> None:
        handler = type("Handler", (_Handler,), {"folder": folder, "asked": []})
        self.asked: list[str] = handler.asked
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    folder: ClassVar[Path]
    asked: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer()

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    def log_message(self, *_args: object) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        match self.path.split("?")[0].strip("/").split("/"):
            case ["api", "models", "owner", name, *rest]:
                self._describe(name, rest)
            case ["owner", name, "resolve", _, file] if (self.folder / name / file).is_file():
                self._send((self.folder / name / file).read_bytes())
            case _:
                self._refuse(404, "EntryNotFound")

    def _describe(self, name: str, rest: list[str]) -> None:
        if name == "gated":
            self._refuse(403, "GatedRepo")
        elif not (self.folder / name).is_dir():
            self._refuse(404, "RepoNotFound")
        elif rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif rest[:1] == ["tree"]:
            files = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": _etag(path)}
                for path in sorted((self.folder / name).iterdir())
            ]
            self._send(json.dumps(files).encode())
        else:
            files = [{"rfilename": path.name} for path in sorted((self.folder / name).iterdir())]
            told = {"id": f"owner/{name}", "sha": COMMIT, "siblings": files}
            self._send(json.dumps(told).encode())

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content, usedforsecurity=False).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
