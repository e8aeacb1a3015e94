"""Conditional and partial answers: entity tags (RFC 9110, 13) and byte ranges (14)."""

import re
from http import HTTPStatus

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.responses import Response

from service.api.problems import HttpProblemError

ONE_RANGE = re.compile(r"bytes=\s*(\d{0,19})-(\d{0,19})\s*", re.ASCII)


def not_modified(request: Request, etag: str, headers: dict[str, str]) -> Response | None:
    """Return a 304 when the client has this version already, else None."""
    given = request.headers.get("if-none-match")
    if given is None:
        return None
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    if "*" not in tags and etag not in tags:
        return None
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={**headers, "ETag": etag})


def settle_range(request: Request, num_bytes: int) -> None:
    """Leave a Range header only where `FileResponse` should obey it.

    Units and forms that we don't know, several ranges at once, and ranges of anything but a
    GET are to be ignored (RFC 9110, 14.2): then the whole file is the right answer.

    Raises:
        HttpProblemError: the range lies outside of the file (416).
    """
    given = request.headers.get("range")
    if given is None:
        return
    found = ONE_RANGE.fullmatch(given)
    if request.method != "GET" or found is None or not any(found.groups()):
        _forget_range(request)
        return
    first, last = found.groups()
    if first and last and int(first) > int(last):
        _forget_range(request)
        return
    is_outside = int(first) >= num_bytes if first else int(last) == 0 or num_bytes == 0
    if is_outside and "if-range" not in request.headers:
        raise HttpProblemError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The file has {num_bytes} bytes.",
            headers={"Content-Range": f"bytes */{num_bytes}"},
        )
    if is_outside:
        _forget_range(request)


def _forget_range(request: Request) -> None:
    del MutableHeaders(scope=request.scope)["range"]
