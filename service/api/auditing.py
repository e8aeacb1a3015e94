"""Each action of an administrator leaves an event in the audit log before it is answered."""

from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import audit_log
from service.access import Principal
from service.audit_log import Actor
from service.catalog.session import Sessions, in_transaction

NOTE = "audited"


@dataclass(frozen=True, kw_only=True)
class Note:
    """That an action is to be recorded if it succeeds."""

    actor: Actor
    sessions: Sessions


def actor_of(request: Request, key_id: str) -> Actor:
    """Return who acts in a request."""
    return Actor(
        id=key_id,
        address=request.client.host if request.client else None,
        request_id=getattr(request.state, "request_id", None),
    )


def note(request: Request, principal: Principal, sessions: Sessions) -> None:
    """Let the action of this request be recorded if it succeeds."""
    setattr(request.state, NOTE, Note(actor=actor_of(request, principal.key_id), sessions=sessions))


class AuditTrail:
    """Records what was noted, when the answer says that it was done and before it is sent.

    Who gets an answer can rely on the record; only a process that dies between the action and
    its answer leaves none.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_recorded(message: Message) -> None:
            noted: Note | None = scope.get("state", {}).get(NOTE)
            if noted is not None and _tells_of_success(message):
                await anyio.to_thread.run_sync(partial(_record, noted, scope, message))
            await send(message)

        await self.app(scope, receive, send_recorded)


def _tells_of_success(message: Message) -> bool:
    """Tell whether an answer begins that says it was done just now, and not once before."""
    if message["type"] != "http.response.start" or message["status"] >= HTTPStatus.BAD_REQUEST:
        return False
    return "idempotency-replayed" not in Headers(raw=message["headers"])


def _record(noted: Note, scope: Scope, message: Message) -> None:
    route = scope.get("route")
    action = getattr(route, "name", None) or scope["method"]
    location = Headers(raw=message["headers"]).get("location")
    parameters = [str(value) for value in scope.get("path_params", {}).values()]
    subject = parameters[0] if parameters else (location or "").rpartition("/")[2] or None
    detail = {"status": message["status"]}
    in_transaction(
        noted.sessions,
        lambda session: audit_log.record(
            session, noted.actor, action, subject=subject, detail=detail
        ),
    )
