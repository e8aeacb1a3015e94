"""Which names this server answers to, and which other sites' pages may ask it."""

from collections.abc import Collection
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api import problems
from service.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PROBES = {"/healthz", "/readyz"}
"""Off loopback orchestrators ask them under any name; they tell nothing."""
ANY_BELOW = "*."


class HostGuard:
    """Refuse requests for other hosts, and those of which two readers may see two ends.

    A page of the internet can let its own name point to an address of ours (DNS rebinding) and
    would then be of our origin; the Host header is what it can't choose.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self.allowed = allowed_hosts(settings)
        self.open_to_all = frozenset() if is_loopback(settings.host) else PROBES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refusal(scope) if scope["type"] == "http" else None
        await (answer or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        request_id = scope["state"]["request_id"]
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers and "content-length" in headers:
            return problems.build(
                HTTPStatus.BAD_REQUEST,
                detail="A request has Content-Length or Transfer-Encoding, not both.",
                reason="ambiguous_length",  # a proxy may read one and hide a second request so
                request_id=request_id,
                headers={"Connection": "close"},
            )
        if self.allowed is None or self._is_allowed(scope):
            return None
        return problems.build(
            HTTPStatus.MISDIRECTED_REQUEST,
            detail="This server answers only under its own address; REELSEEK_PUBLIC_URL or "
            "REELSEEK_ALLOWED_HOSTS adds one.",
            reason="host_not_allowed",
            request_id=request_id,
        )

    def _is_allowed(self, scope: Scope) -> bool:
        if scope["path"] in self.open_to_all:
            return True
        given = Headers(scope=scope).getlist("host")
        return len(given) == 1 and is_among(given[0], self.allowed or ())


def allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Return the host names that we answer to, or None for any.

    On loopback these are its own names, elsewhere none unless some are given; the host of the
    public address and REELSEEK_ALLOWED_HOSTS are added to both.
    """
    public = urlsplit(settings.public_url).hostname if settings.public_url else None
    given = {name.lower() for name in settings.allowed_host_names} | ({public} if public else set())
    if not is_loopback(settings.host) and not given:
        return None
    return frozenset(LOOPBACK | {settings.host.lower().strip("[]")} | given)


def is_among(host: str, allowed: Collection[str]) -> bool:
    """Tell whether a Host header, with or without a port, names one of these.

    `*.example.com` allows every name below example.com.
    """
    try:
        parts = urlsplit(f"//{host}")
        name = (parts.hostname or "").removesuffix(".")
        _ = parts.port  # raises ValueError if it is none
    except ValueError:
        return False
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return False
    return name in allowed or any(
        one.startswith(ANY_BELOW) and name.endswith(one[1:]) for one in allowed
    )


def is_loopback(host: str) -> bool:
    """Tell whether only programs of this machine reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_local(settings: Settings) -> bool:
    """Tell whether this is one person's machine: on loopback, with no proxy before it."""
    return is_loopback(settings.host) and settings.public_url is None
