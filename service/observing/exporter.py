"""/metrics of a process that serves nothing else."""

import threading
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import CollectorRegistry, start_http_server

log = structlog.get_logger(__name__)


class Exporter:
    """Serve the figures of a registry over HTTP until it is closed.

    A port that is taken is logged and does no harm: work matters more than its figures.

    Args:
        registry: what is told.
        host: address to listen on.
        port: 0 = any that is free.
    """

    def __init__(self, registry: CollectorRegistry, *, host: str, port: int) -> None:
        self.port: int | None = None
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None
        try:
            self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        except OSError as error:
            log.warning("metrics_not_served", host=host, port=port, error=error.strerror)
            return
        self.port = self._server.server_port
        log.info("metrics_served", host=host, port=self.port)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.close()

    def close(self) -> None:
        """Stop listening."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = None
