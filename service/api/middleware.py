"""What happens around every request: its id, its log line, its headers, large bodies."""

import re
import time
from contextlib import AbstractContextManager, nullcontext
from http import HTTPStatus
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import tracing
from service.api import problems
from service.api.headers import SecurityHeaders
from service.api.metrics import Metrics
from service.log import REQUEST_ID

log = structlog.get_logger()

BODY_LIMIT_BYTES = 1024 * 1024
STREAMED = re.compile(r"POST /v1/videos(/batch)?|(POST|PATCH) /v1/uploads(/.*)?")
"""Requests whose body is streamed and has a limit of its own."""
LARGER = {
    ("POST", "/v1/evaluation-sets"): 16 * BODY_LIMIT_BYTES,
    ("POST", "/v1/evaluation-sets/import"): 16 * BODY_LIMIT_BYTES,
    ("POST", "/v1/captions/import"): 100 * BODY_LIMIT_BYTES,
}
"""Requests that may hold more than others, bytes."""
CLIENT_WENT_AWAY = 499
SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET_PATHS = {"/healthz", "/readyz", "/metrics"}


class RequestContext:
    """Give each request an id, one log line, its figures, and a problem where the code fails."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, headers: SecurityHeaders) -> None:
        self.app = app
        self.metrics = metrics
        self.headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                self.headers.add_to(headers)
                for name, value in scope["state"].get("rate_headers", {}).items():
                    headers[name] = value
            await send(message)

        with (
            structlog.contextvars.bound_contextvars(**{REQUEST_ID: request_id}),
            self._span(scope, request_id),
        ):
            try:
                await self.app(scope, receive, send_with_id)
            except ClientDisconnect:
                status = CLIENT_WENT_AWAY
            except Exception:
                log.exception("request_failed", method=scope["method"], route=_route(scope))
                if status:
                    raise  # the answer has begun: the server can only cut the connection
                await problems.internal_error(request_id)(scope, receive, send_with_id)
            finally:
                self._record(scope, status, time.perf_counter() - started)

    def _span(self, scope: Scope, request_id: str) -> AbstractContextManager[object]:
        if scope["path"] in QUIET_PATHS:
            return nullcontext()
        parent = Headers(scope=scope).get(tracing.TRACEPARENT)
        return tracing.span("request", parent=parent, server=True, request_id=request_id)

    def _record(self, scope: Scope, status: int, duration_s: float) -> None:
        route = _route(scope)
        if scope["path"] not in QUIET_PATHS:
            tracing.note({"route": route, "status": status}, name=f"{scope['method']} {route}")
        self.metrics.observe_request(
            method=scope["method"], route=route, status=status, duration_s=duration_s
        )
        write = log.debug if scope["path"] in QUIET_PATHS else log.info
        write(
            "request_answered",
            method=scope["method"],
            route=route,
            status=status,
            duration_ms=round(duration_s * 1000, 1),
        )


class BodyLimit:
    """Stop reading a body that is larger than any of our JSON can be."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int = BODY_LIMIT_BYTES) -> None:
        self.app = app
        self.limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or STREAMED.fullmatch(f"{scope['method']} {scope['path']}"):
            await self.app(scope, receive, send)
            return
        num_bytes = 0
        limit_bytes = LARGER.get((scope["method"], scope["path"]), self.limit_bytes)

        async def receive_some() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            if num_bytes > limit_bytes:
                raise problems.HttpProblemError(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"The body is larger than {limit_bytes} bytes.",
                    reason="payload_too_large",
                )
            return message

        await self.app(scope, receive_some, send)


def _request_id(given: str | None) -> str:
    """Take the client's id where it is harmless in a log."""
    return given if given and SAFE_REQUEST_ID.fullmatch(given) else uuid4().hex


def _route(scope: Scope) -> str:
    """Return the template of the route: concrete addresses would make endless series."""
    template: str = getattr(scope.get("route"), "path", "unknown")
    return template
