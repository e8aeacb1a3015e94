"""Headers of every answer: what a browser must not do with it."""

from typing import Final

from starlette.datastructures import MutableHeaders

from service.settings import Settings

NOTHING: Final = (
    "default-src 'none'; img-src 'self'; media-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'"
)
"""For all that is no page: were it shown as one, it could load and run nothing. The page and /docs
have policies of their own."""
FIXED: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Permitted-Cross-Domain-Policies": "none",
}
DEFAULTS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": NOTHING,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
}
ONE_YEAR_S: Final = 31_536_000


class SecurityHeaders:
    """Adds them to an answer; what a route says itself stays."""

    def __init__(self, settings: Settings) -> None:
        self._fixed = dict(FIXED)
        if (settings.public_url or "").startswith("https://"):
            self._fixed["Strict-Transport-Security"] = f"max-age={ONE_YEAR_S}"

    def add_to(self, headers: MutableHeaders) -> None:
        """Write them into the headers of an answer."""
        for name, value in self._fixed.items():
            headers[name] = value
        for name, value in DEFAULTS.items():
            headers.setdefault(name, value)
