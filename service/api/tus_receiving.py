"""Receive the body of a PATCH in pieces; what came before it broke off is kept, too."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
from fastapi import Request

from service.api.state import State
from service.api.tus_headers import Checksum
from service.api.uploads import FLUSH_BYTES, received_chunks
from service.catalog.upload_tables import ResumableUpload
from service.errors import PayloadTooLargeError
from service.resumable import Resumables
from service.storage import Staging

PIECE_S = 30.0
"""A slow line's piece ends after so long: what came is safe then."""


class ChecksumMismatchError(Exception):
    """The bytes of a request are not those that its checksum names."""


class PieceReceiver:
    """Take the body of one request into pieces, each durable and counted before the next begins.

    With a checksum nothing is counted before all of it came, as one piece.

    Args:
        state: what routes share.
        resumables: keeps pieces.
        upload: where they belong; the first begins at its offset.
        checksum: what the body must have, if the sender says so.
    """

    def __init__(
        self,
        state: State,
        resumables: Resumables,
        upload: ResumableUpload,
        checksum: Checksum | None,
    ) -> None:
        self._state = state
        self._resumables = resumables
        self._checksum = checksum
        self._upload = upload
        self._piece: Staging | None = None
        self._began = 0.0
        self._has_failed = False

    async def receive(self, request: Request) -> ResumableUpload:
        """Read the body to its end, and return the upload as it is then.

        Raises:
            ChecksumMismatchError: nothing of it was kept.
            ConflictError: another request was quicker.
            PayloadTooLargeError: more came than the upload has.
        """
        waiting = bytearray()
        try:
            async for chunk in received_chunks(request, self._state.settings.upload_idle_s):
                waiting += chunk
                if len(waiting) >= FLUSH_BYTES:
                    data = bytes(waiting)
                    waiting.clear()
                    await self._in_thread(self._take, data)
        except BaseException:
            with anyio.CancelScope(shield=True):  # it broke off, or we are told to stop
                await self._in_thread(self._save, bytes(waiting))
            raise
        await self._in_thread(self._take_last, bytes(waiting))
        return self._upload

    async def _in_thread(self, work: Callable[[bytes], None], data: bytes) -> None:
        """Write in a thread that searches do not need."""
        await anyio.to_thread.run_sync(work, data, limiter=self._state.receiving)

    def _take_last(self, data: bytes) -> None:
        self._take(data)
        with self._discarding():
            self._close_piece()

    def _save(self, rest: bytes) -> None:
        """Keep what came before the body broke off; without its end a checksum says nothing."""
        if self._checksum is None and not self._has_failed:
            self._take_last(rest)
        elif self._piece is not None:
            self._piece.abort()

    def _take(self, data: bytes) -> None:
        with self._discarding():
            self._write(data)

    @contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._has_failed = True
            if self._piece is not None:
                self._piece.abort()
            raise

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._piece is None:
            self._piece = self._state.storage.open_staging()
            self._began = time.monotonic()
        if self._upload.offset + self._piece.size_bytes + len(data) > self._upload.length:
            raise PayloadTooLargeError(
                f"More came than the {self._upload.length} bytes of this upload."
            )
        self._piece.write(data)
        self._state.metrics.upload_bytes.inc(len(data))
        if self._checksum is not None:
            self._checksum.update(data)
            return
        is_old = time.monotonic() - self._began > PIECE_S
        if is_old or self._piece.size_bytes >= self._state.settings.upload_piece_bytes:
            self._close_piece()

    def _close_piece(self) -> None:
        if self._checksum is not None and not self._checksum.is_met():
            raise ChecksumMismatchError
        if self._piece is None:
            return
        with self._piece as piece:
            start = self._upload.offset
            self._upload = self._resumables.keep_piece(self._upload.id, start, piece.finish())
        self._piece = None
