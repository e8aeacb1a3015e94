"""Other sites' pages may ask with a key where the settings allow it; never with a cookie."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service.settings import Settings

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Range"),
    *("Last-Event-ID", "X-Request-Id", "Upload-Length", "Upload-Metadata", "Upload-Offset"),
    *("Upload-Checksum", "Tus-Resumable"),
)
ANSWER_HEADERS = (
    *("Location", "ETag", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-Id"),
    *("Content-Range", "Accept-Ranges", "Upload-Offset", "Upload-Length", "Upload-Expires"),
    *("Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size"),
    *("Tus-Checksum-Algorithm", "Reelseek-Video", "Reelseek-Job"),
)
PREFLIGHT_KEPT_S = 600


def install(app: FastAPI, settings: Settings) -> None:
    """Let the sites of the settings ask; without any nothing is added to any answer."""
    origins = settings.cors_origin_list
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=REQUEST_HEADERS,
            expose_headers=ANSWER_HEADERS,
            allow_credentials=False,
            max_age=PREFLIGHT_KEPT_S,
        )
