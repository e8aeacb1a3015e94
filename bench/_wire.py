"""A small HTTP client on asyncio: thousands of connections for little of the machine's time."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

NO_BODY = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


@dataclass(frozen=True)
class Reply:
    """An answer; status 0 where the connection was cut."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after_s(self) -> float:
        """How long to wait, as the server asks for; 1 s if it does not say."""
        return float(self.headers.get("retry-after", "1"))


CUT = Reply(0, {}, b"")


class Wire:
    """One connection, opened again when the server closed it.

    Args:
        port: of 127.0.0.1.
        headers: sent with every request.
    """

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self._port = port
        self._headers = headers
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and return its answer; once more if a kept connection was closed."""
        was_open = self.writer is not None
        reply = await self._try(method, path, body, headers or {})
        if reply is CUT and was_open:
            reply = await self._try(method, path, body, headers or {})
        return reply

    async def begin(
        self, method: str, path: str, num_bytes: int, headers: Mapping[str, str]
    ) -> None:
        """Send the head of a request; the caller sends the body with `writer`."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        fields = {**self._headers, **headers, "Content-Length": str(num_bytes)}
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.writer.write("\r\n".join([*lines, "\r\n"]).encode())

    async def read(self) -> Reply:
        """Return the next answer."""
        if self.reader is None:
            return CUT
        try:
            status, headers = await self.read_head()
            if status in NO_BODY:
                body = b""
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = await self._read_chunks()
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
            await self.close()
            return CUT
        if headers.get("connection") == "close":
            await self.close()
        return Reply(status, headers, body)

    async def read_head(self) -> tuple[int, dict[str, str]]:
        """Return the status and the headers of the next answer."""
        if self.reader is None:
            raise ConnectionResetError("closed")
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        return int(head[0].split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def close(self) -> None:
        """Hang up."""
        if self.writer is not None:
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()
        self.reader = self.writer = None

    async def _try(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        try:
            await self.begin(method, path, len(body), headers)
            if self.writer is not None:
                self.writer.write(body)
                await self.writer.drain()
        except OSError:
            if self.reader is None:
                return CUT
        return await self.read()

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while self.reader is not None:
            size = int((await self.reader.readline()).split(b";")[0], 16)
            body += (await self.reader.readexactly(size + 2))[:-2]
            if size == 0:
                break
        return bytes(body)
