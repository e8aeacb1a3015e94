"""How many requests of each kind may be under way at once; the rest is refused before it costs.

A request that waits holds a socket, its body and perhaps a thread. So none waits without a bound:
what is too much is answered 503 with Retry-After before its body is read or its key looked up.
"""

import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import problems
from service.api.middleware import LARGER, QUIET_PATHS
from service.settings import Settings

SEARCH_THREADS = 32
"""Searches that run at once in one process."""
SURPLUS = "is_surplus"
"""In a request's state: its connection is one too many."""
RETRY_AFTER_S = 2


class Lane(StrEnum):
    """Kinds of requests that must not take the room of each other."""

    SEARCH = "search"
    UPLOAD = "upload"
    STREAM = "stream"
    """Server-sent events: open for hours, and idle."""
    MEDIA = "media"
    """Files as they are played: open for long where a player pauses."""
    BULK = "bulk"
    """Bodies of many MiB that are held in memory."""
    HEALTH = "health"
    OTHER = "other"


FIXED = {Lane.MEDIA: 512, Lane.BULK: 4, Lane.HEALTH: 64, Lane.OTHER: 256}
"""Requests at once, where no setting says it."""


def limits_of(settings: Settings) -> dict[Lane, int]:
    """Return how many requests of each kind one process takes at once."""
    return {
        **FIXED,
        Lane.SEARCH: SEARCH_THREADS + settings.search_queue,
        Lane.UPLOAD: settings.uploads_open,
        Lane.STREAM: settings.event_streams,
    }


LANES = (
    (Lane.STREAM, re.compile(r"GET /v1/.+/events")),
    (Lane.SEARCH, re.compile(r"\w+ /v1/search(/.*)?")),
    (Lane.UPLOAD, re.compile(r"\w+ /v1/uploads(/.*)?|POST /v1/videos(/batch)?")),
    (Lane.MEDIA, re.compile(r"\w+ /v1/videos/[^/]+/(content|thumbnail).*")),
)
"""What else tells kinds apart: method and path."""


def lane_of(method: str, path: str) -> Lane:
    """Tell what kind of request this is."""
    if path in QUIET_PATHS:
        return Lane.HEALTH
    if (method, path) in LARGER:
        return Lane.BULK
    request = f"{method} {path}"
    return next((lane for lane, form in LANES if form.fullmatch(request)), Lane.OTHER)


class Admission:
    """Refuse what is more than a lane holds, and what came by a surplus connection.

    Args:
        app: what answers.
        limits: requests at once by lane.
    """

    def __init__(self, app: ASGIApp, *, limits: Mapping[Lane, int]) -> None:
        self.app = app
        self._limits = limits
        self._under_way: Counter[Lane] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        lane = lane_of(scope["method"], scope["path"])
        is_surplus = scope["state"].get(SURPLUS, False) and lane is not Lane.HEALTH
        if is_surplus or self._under_way[lane] >= self._limits[lane]:
            await _refusal(scope, is_surplus=is_surplus)(scope, receive, send)
            return
        self._under_way[lane] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._under_way[lane] -= 1


def _refusal(scope: Scope, *, is_surplus: bool) -> ASGIApp:
    what = "connections are open" if is_surplus else "requests of this kind wait"
    return problems.build(
        HTTPStatus.SERVICE_UNAVAILABLE,
        detail=f"Too many {what} already; try again in a moment.",
        reason="too_busy",
        request_id=scope["state"].get("request_id"),
        headers={
            "Retry-After": str(RETRY_AFTER_S),
            **({"Connection": "close"} if is_surplus else {}),
        },
    )
