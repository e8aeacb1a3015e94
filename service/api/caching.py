"""Conditional and partial answers: entity tags (RFC 9110, 13) and byte ranges (14)."""

import re
from http import HTTPStatus

from fastapi import Request
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


def wanted_range(request: Request, num_bytes: int, etag: str) -> tuple[int, int] | None:
    """Return the part of a file that a request asks for, [first byte, behind the last one).

    Units and forms that we don't know, several ranges at once, ranges of anything but a GET, and
    ranges of a version that the file no longer has are to be ignored (RFC 9110, 13.1.5 and 14.2):
    then the answer is None, and the whole file is the right one.

    Raises:
        HttpProblemError: the range lies outside of the file (416).
    """
    given = request.headers.get("range")
    if given is None or request.method != "GET" or request.headers.get("if-range", etag) != etag:
        return None
    found = ONE_RANGE.fullmatch(given)
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if first and last and int(first) > int(last):
        return None
    start = int(first) if first else max(0, num_bytes - int(last))
    if start >= num_bytes:
        raise HttpProblemError(
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            f"The file has {num_bytes} bytes.",
            headers={"Content-Range": f"bytes */{num_bytes}"},
        )
    return start, min(num_bytes, int(last) + 1) if first and last else num_bytes
