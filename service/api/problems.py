"""Every failure as an RFC 9457 problem document: the one place that knows HTTP status codes."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from service import errors
from service.catalog.session import is_busy, is_disk_full

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
MAX_PATH_CHARS = 200
MAX_MESSAGE_CHARS = 300
BYTES_FOR_A_MODEL = "model_attributes_type"  # pydantic's code for a body that is no JSON object

STATUS: dict[type[errors.ServiceError], HTTPStatus] = {
    errors.BadRequestError: HTTPStatus.BAD_REQUEST,
    errors.UnauthenticatedError: HTTPStatus.UNAUTHORIZED,
    errors.ForbiddenError: HTTPStatus.FORBIDDEN,
    errors.NotFoundError: HTTPStatus.NOT_FOUND,
    errors.ConflictError: HTTPStatus.CONFLICT,
    errors.PayloadTooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.RefusedMediaError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.InvalidInputError: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyRequestsError: HTTPStatus.TOO_MANY_REQUESTS,
    errors.UnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StorageFullError: HTTPStatus.INSUFFICIENT_STORAGE,
}

TITLES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "Content Too Large",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Unprocessable Content",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "Range Not Satisfiable",
}
"""Names of RFC 9110 where `HTTPStatus` of Python 3.11 still has the older ones."""


class FieldError(BaseModel):
    """What is wrong with one field of the request."""

    path: str = Field(description="Where, as `body.filter.tags.0`.")
    message: str


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    type: str = Field(description="`/problems/` and the reason.")
    title: str
    status: int
    detail: str
    reason: str = Field(description="Machine-readable code, lower_snake_case.")
    request_id: str | None = Field(None, description="The X-Request-Id of this answer.")
    errors: list[FieldError] | None = Field(None, description="One entry per wrong field.")


class HttpProblemError(HTTPException):
    """A failure that only HTTP knows (a wrong content type, say), with its reason."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers=headers)
        self.reason = reason


def responses(*failures: type[errors.ServiceError] | HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Describe the failures of a route for OpenAPI."""
    documented: dict[int | str, dict[str, Any]] = {}
    for failure in failures:
        status = failure if isinstance(failure, HTTPStatus) else STATUS[failure]
        documented[status.value] = {
            "description": title_of(status),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return documented


def title_of(status: HTTPStatus) -> str:
    """Return the name of a status as RFC 9110 has it."""
    return TITLES.get(status, status.phrase)


def build(
    status: HTTPStatus,
    *,
    detail: str,
    reason: str | None = None,
    request_id: str | None = None,
    field_errors: Sequence[FieldError] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the answer that carries a problem."""
    reason = reason or re.sub(r"[^a-z]+", "_", title_of(status).lower())
    problem = Problem(
        type=f"/problems/{reason}",
        title=title_of(status),
        status=status.value,
        detail=detail,
        reason=reason,
        request_id=request_id,
        errors=list(field_errors) if field_errors else None,
    )
    answer_headers = {"Cache-Control": "no-store", **(headers or {})}
    return JSONResponse(
        problem.model_dump(exclude_none=True), status.value, answer_headers, media_type=MEDIA_TYPE
    )


def problem_of(error: errors.ServiceError) -> Problem:
    """Describe a failure that is only a part of an answer."""
    status = status_of(error)
    return Problem(
        type=f"/problems/{error.reason}",
        title=title_of(status),
        status=status.value,
        detail=error.detail,
        reason=error.reason,
    )


def status_of(error: errors.ServiceError) -> HTTPStatus:
    """Return the status of an expected failure; a subclass has its parent's."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return HTTPStatus.INTERNAL_SERVER_ERROR


def install(app: FastAPI) -> None:
    """Let the application answer every failure with a problem."""
    app.add_exception_handler(errors.ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(kind, _on_database_error)


def internal_error(request_id: str | None) -> Response:
    """Answer a failure that nobody expected, telling nothing of it."""
    return build(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        detail="Something went wrong on the server. Its log has the details under this request id.",
        request_id=request_id,
    )


async def _on_service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, errors.ServiceError):  # registered for this class alone
        raise error
    status = status_of(error)
    headers = {}
    if error.retry_after_s is not None or status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(error.retry_after_s or 1)
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="reelseek"'
    return build(
        status,
        detail=error.detail,
        reason=error.reason,
        request_id=_request_id(request),
        field_errors=_line_errors(error),
        headers=headers,
    )


async def _on_database_error(request: Request, error: Exception) -> Response:
    log.error("database_unavailable", error=str(error)[:MAX_MESSAGE_CHARS])
    return await _on_service_error(request, _why_no_database(error))


def _why_no_database(error: Exception) -> errors.ServiceError:
    if isinstance(error, DBAPIError) and is_disk_full(error):
        return errors.StorageFullError(
            "The database's disk is full. Free some space or ask the admin."
        )
    if isinstance(error, PoolTimeoutError) or (isinstance(error, DBAPIError) and is_busy(error)):
        return errors.UnavailableError(
            "The database has too much to do now; try again in a moment.",
            reason="database_busy",
            retry_after_s=2,
        )
    return errors.UnavailableError(
        "The database does not answer now; try again.",
        reason="database_unavailable",
        retry_after_s=2,
    )


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):  # registered for this class alone
        raise error
    status = HTTPStatus(error.status_code)
    headers = dict(error.headers or {})
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_methods_at(request)))
    own_words = error.detail not in {status.phrase, title_of(status)}
    return build(
        status,
        detail=error.detail if own_words else _sentence_for(status),
        reason=getattr(error, "reason", None),
        request_id=_request_id(request),
        headers=headers,
    )


async def _on_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):  # registered for this class alone
        raise error
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return build(
            HTTPStatus.BAD_REQUEST,
            detail="The body is not valid JSON.",
            reason="invalid_json",
            request_id=_request_id(request),
        )
    if any(one["type"] == BYTES_FOR_A_MODEL and isinstance(one["input"], bytes) for one in found):
        return build(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            detail="Send the body as application/json.",
            request_id=_request_id(request),
            headers={"Accept": "application/json"},
        )
    return build(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        detail="Some fields of the request are not valid; `errors` names them.",
        reason="invalid_input",
        request_id=_request_id(request),
        field_errors=[_field_error(one) for one in found[:MAX_ERRORS]],
    )


def _line_errors(error: errors.ServiceError) -> list[FieldError]:
    lines = error.lines[:MAX_ERRORS] if isinstance(error, errors.InvalidLinesError) else []
    return [
        FieldError(path=f"line {bad.line}", message=printable(bad.reason)[:MAX_MESSAGE_CHARS])
        for bad in lines
    ]


def _field_error(error: Mapping[str, Any]) -> FieldError:
    """Name the field and the mistake, never the input: it may be huge or secret."""
    path = ".".join(str(part) for part in error["loc"])
    return FieldError(
        path=printable(path)[:MAX_PATH_CHARS],
        message=printable(str(error["msg"]))[:MAX_MESSAGE_CHARS],
    )


def printable(text: str) -> str:
    """Replace what cannot be sent as UTF-8 (lone surrogates)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _methods_at(request: Request) -> set[str]:
    """Return the methods of an address; the router names only those of its first route there."""
    path = request.scope["path"]
    return {
        method
        for route in iter_route_contexts(request.app.routes)
        if route.methods and route.path_regex.match(path)
        for method in route.methods
    }


def _sentence_for(status: HTTPStatus) -> str:
    match status:
        case HTTPStatus.NOT_FOUND:
            return "There is nothing at this address."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            return "This address has no such method; the Allow header names those it has."
        case _:
            return f"{title_of(status)}."


def _request_id(request: Request) -> str | None:
    request_id: str | None = getattr(request.state, "request_id", None)
    return request_id
