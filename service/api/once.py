"""Idempotency-Key: a creating request is carried out once, however often it is sent.

A route says `dependencies=[ONCE]`; one whose body is streamed asks for `OnceDep` and calls `begin`
when it knows what was asked. The middleware sees the answer, and keeps it for repetitions.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated

import anyio.to_thread
from fastapi import Depends, FastAPI, Header, Request
from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import idempotency
from service.api.deps import PrincipalDep, StateDep
from service.catalog.session import Sessions, last_word
from service.idempotency import IdempotencyToken, KeptAnswer, Reservation

KEY_HEADER = "idempotency-key"
REPLAYED = "Idempotency-Replayed"
OWN_HEADERS = frozenset({"location", "content-type"})
OWN_PREFIXES = ("upload-", "tus-", "reelseek-")
FIRST_FAILURE, FIRST_SERVER_FAILURE = 400, 500

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=idempotency.MAX_KEY,
        pattern=r"^[\x21-\x7e]+$",
        description="Makes it harmless to send this again: the same key gets the same answer.",
    ),
]


class AnsweredBeforeError(Exception):
    """The same request was answered before; `answer` is what it gets again."""

    def __init__(self, answer: KeptAnswer) -> None:
        super().__init__("answered before")
        self.answer = answer


class Once:
    """One request that has a key, or might."""

    def __init__(self) -> None:
        self.has_secret = False
        self._token: IdempotencyToken | None = None
        self._sessions: Sessions | None = None
        self._reservation: Reservation | None = None

    def identify(self, token: IdempotencyToken, sessions: Sessions) -> None:
        """Say whose key it is."""
        self._token, self._sessions = token, sessions

    async def begin(self, *parts: bytes) -> None:
        """Make sure that nobody has carried this out; `parts` say what is asked.

        Raises:
            AnsweredBeforeError: somebody has.
            ConflictError: the key was used for something else, or this is under way.
        """
        if self._token is None or self._sessions is None:
            return
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        begun = await anyio.to_thread.run_sync(
            idempotency.begin, self._sessions, self._token, digest.hexdigest()
        )
        if isinstance(begun, KeptAnswer):
            raise AnsweredBeforeError(begun)
        self._reservation = begun

    @property
    def is_reserved(self) -> bool:
        """Whether its answer is to be kept."""
        return self._reservation is not None

    def mark(self, session: Session) -> None:
        """Take part in the transaction of what was asked."""
        if self._reservation is not None:
            idempotency.mark_done(session, self._reservation)

    async def settle(self, answer: KeptAnswer) -> None:
        """Keep the answer, before it is sent; let what failed be tried again."""
        if answer.status >= FIRST_FAILURE:
            await self.give_up(even_if_done=answer.status != FIRST_SERVER_FAILURE)
            return
        sessions, reservation = self._take()
        if reservation is not None and sessions is not None:
            await anyio.to_thread.run_sync(idempotency.keep, sessions, reservation, answer)

    async def give_up(self, *, even_if_done: bool) -> None:
        """Let what failed be tried again."""
        sessions, reservation = self._take()
        if reservation is not None and sessions is not None:
            await anyio.to_thread.run_sync(
                lambda: idempotency.release(sessions, reservation, even_if_done=even_if_done)
            )

    def _take(self) -> tuple[Sessions | None, Reservation | None]:
        reservation, self._reservation = self._reservation, None
        return self._sessions, reservation


class OnceMiddleware:
    """Keep the answers to requests that have a key."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or KEY_HEADER not in Headers(scope=scope):
            await self.app(scope, receive, send)
            return
        once = Once()
        scope.setdefault("state", {})["once"] = once
        try:
            with last_word(once.mark):
                await self.app(scope, receive, _Keeping(once, send))
        except Exception:
            # What was committed stays done: its sender does not know whether it was
            await once.give_up(even_if_done=False)
            raise


class _Keeping:
    """Hold back an answer until it is kept."""

    def __init__(self, once: Once, send: Send) -> None:
        self._once = once
        self._send = send
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if not self._once.is_reserved:
            await self._send(message)
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            await self._once.settle(self._answer())
            await self._send(self._start)
            await self._send({"type": "http.response.body", "body": bytes(self._body)})

    def _answer(self) -> KeptAnswer:
        headers = Headers(raw=self._start["headers"])
        return KeptAnswer(
            status=self._start["status"],
            headers={name: value for name, value in headers.items() if _is_own(name)},
            body=self._body.decode(),
            has_secret=self._once.has_secret,
        )


async def get_once(
    request: Request, state: StateDep, principal: PrincipalDep, idempotency_key: KeyHeader = None
) -> Once:
    """Return what knows whether this request was carried out before."""
    once: Once = getattr(request.state, "once", None) or Once()
    if idempotency_key is not None:
        token = IdempotencyToken(owner=principal.key_id, key=idempotency_key)
        once.identify(token, state.sessions)
    return once


OnceDep = Annotated[Once, Depends(get_once)]


async def begin_with_body(request: Request, once: OnceDep) -> None:
    """Begin a request that is asked by its address and its whole body."""
    await once.begin(*asked_by(request), await request.body())


def asked_by(request: Request) -> list[bytes]:
    """Return what a request asks for beside its body."""
    kind = request.headers.get("content-type", "")
    target = request.scope["path"].encode(errors="replace")
    return [request.method.encode(), target, request.scope["query_string"], kind.encode()]


async def hide_answer(request: Request) -> None:
    """Keep no answer of this route: it holds a secret that is shown once."""
    once: Once | None = getattr(request.state, "once", None)
    if once is not None:
        once.has_secret = True


ONCE = Depends(begin_with_body)
"""For `dependencies=` of a route that makes something."""
SHOWS_A_SECRET = Depends(hide_answer)
"""Beside it, where the answer holds a secret."""


def install(app: FastAPI) -> None:
    """Let the application answer repetitions."""
    app.add_exception_handler(AnsweredBeforeError, _answer_again)
    app.add_middleware(OnceMiddleware)


async def _answer_again(_request: Request, error: Exception) -> Response:
    if not isinstance(error, AnsweredBeforeError):  # registered for this class alone
        raise error
    kept = error.answer
    headers: Mapping[str, str] = {**kept.headers, REPLAYED: "true"}
    return Response(kept.body, kept.status, dict(headers))


def _is_own(name: str) -> bool:
    """Tell whether a header belongs to what was made, and not to the one answer."""
    return name in OWN_HEADERS or name.startswith(OWN_PREFIXES)
