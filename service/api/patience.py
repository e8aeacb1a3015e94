"""Bodies that come too slowly: the request is ended, so that it holds nothing any more."""

import asyncio
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import HttpProblemError

DISCONNECT: Message = {"type": "http.disconnect"}


class SlowBodies:
    """End requests whose body stands still, or comes at less than the least rate.

    Only the time counts that the application waits for the client: a server whose disk is slow
    ends nobody's upload.

    Args:
        app: what reads the bodies.
        idle_s: nothing may come for so long, seconds; also the span over which the rate is taken.
        min_bytes_per_s: the least rate; 0 allows any.
    """

    def __init__(self, app: ASGIApp, *, idle_s: float, min_bytes_per_s: int) -> None:
        self.app = app
        self._idle_s = idle_s
        self._min_bytes_per_s = min_bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, idle_s=self._idle_s, min_bytes_per_s=self._min_bytes_per_s)

        async def send_and_note(message: Message) -> None:
            body.is_answered = True
            await send(message)

        await self.app(scope, body.receive, send_and_note)


class _Body:
    """One body on its way."""

    def __init__(self, receive: Receive, *, idle_s: float, min_bytes_per_s: int) -> None:
        self.is_answered = False
        self._receive = receive
        self._idle_s = idle_s
        self._least_bytes = idle_s * min_bytes_per_s
        self._is_complete = False
        self._waited_s = 0.0
        self._num_bytes = 0

    async def receive(self) -> Message:
        """Return the next part; raise HttpProblemError if it takes too long."""
        if self._is_complete:  # what is awaited now is that the client hangs up
            return await self._receive()
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._receive()
        except TimeoutError:
            return self._end(f"Nothing came for {self._idle_s:g} seconds: the request was ended.")
        self._is_complete = not message.get("more_body", False)
        self._num_bytes += len(message.get("body", b""))
        self._waited_s += asyncio.get_running_loop().time() - began
        if self._waited_s >= self._idle_s and not self._is_complete:
            if self._num_bytes < self._least_bytes:
                return self._end(
                    f"Only {self._num_bytes} bytes came in {self._waited_s:.0f} seconds: "
                    "the request was ended."
                )
            self._waited_s, self._num_bytes = 0.0, 0
        return message

    def _end(self, why: str) -> Message:
        self._is_complete = True
        if self.is_answered:  # nobody reads a second answer
            return DISCONNECT
        raise HttpProblemError(HTTPStatus.REQUEST_TIMEOUT, why, headers={"Connection": "close"})
