"""The page: the files of `service/web`, with a policy that lets them load nothing from others."""

import hashlib
import mimetypes
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api import caching

POLICY = {
    "default-src": "'self'",
    "img-src": "'self' data:",
    "media-src": "'self'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "object-src": "'none'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
}
INDEX = "index.html"
MEDIA_TYPES = {".js": "text/javascript", ".webmanifest": "application/manifest+json"}
"""Types that a machine's own table may lack or have wrong."""


def make_router(folder: Path, *, media_origin: str | None = None) -> APIRouter:
    """Give each file of the folder its address: what is not listed does not exist.

    Args:
        folder: with the files of the page.
        media_origin: where videos may come from besides the API itself.
    """
    policy = dict(POLICY)
    if media_origin is not None:
        policy["media-src"] += f" {media_origin}"
    headers = {
        **HEADERS,
        "Content-Security-Policy": "; ".join(f"{kind} {source}" for kind, source in policy.items()),
    }
    router = APIRouter(include_in_schema=False)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith((".", "_")) and path.suffix != ".py":
            _serve(router, "/" if name == INDEX else f"/{name}", path, headers)
    return router


def _serve(router: APIRouter, address: str, path: Path, headers: dict[str, str]) -> None:
    media_type = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]

    def read_file(request: Request) -> Response:
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        return caching.not_modified(request, etag, headers) or Response(
            content, media_type=media_type, headers={**headers, "ETag": etag}
        )

    router.add_api_route(address, read_file, methods=["GET", "HEAD"])
