"""Logs of every process: constant event names with fields, as text or as JSON lines."""

import logging
import sys

import structlog
from structlog.typing import Processor

REQUEST_ID = "request_id"
QUIET_LIBRARIES = {
    "python_multipart": logging.ERROR,  # warns of every broken upload; we answer it
    "kombu": logging.ERROR,  # warns that a folder has no host name
    "httpx": logging.WARNING,
    "opentelemetry": logging.ERROR,  # a collector that is away is no trouble of ours
    "alembic.runtime.plugins": logging.WARNING,
}


def current_request_id() -> str | None:
    """Return the id of the request that this thread works for, directly or as a job of it."""
    request_id: str | None = structlog.contextvars.get_contextvars().get(REQUEST_ID)
    return request_id


def configure(*, as_json: bool, level: int = logging.INFO) -> None:
    """Send our events and those of libraries to stderr in one form; calling it again is harmless.

    Args:
        as_json: one JSON object a line, for machines; else aligned text, for people.
        level: events below it are dropped.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(shared, as_json=as_json))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, quietest in QUIET_LIBRARIES.items():
        logging.getLogger(name).setLevel(quietest)


def _formatter(shared: list[Processor], *, as_json: bool) -> logging.Formatter:
    plain = structlog.dev.plain_traceback  # the default shows local variables: keys, texts
    render: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
    )
