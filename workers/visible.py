"""How others see this worker: its row among the processes, and its figures."""

from collections.abc import Collection

from service import tracing
from service.jobs import Queue
from service.observing.exporter import Exporter
from service.observing.presence import Presence
from service.observing.process_figures import add_process_figures
from workers.resources import Resources

WORKER, TUNER, COURIER = "worker", "tuner", "courier"
PORT_AFTER = {WORKER: 0, TUNER: 1, COURIER: 2}
"""One machine runs one of each with the same settings."""


def kind_of(queues: Collection[str]) -> str:
    """Return which kind of worker reads these queues."""
    if Queue.INGEST in queues:
        return WORKER
    return TUNER if Queue.TUNING in queues else COURIER


class Visible:
    """Write the row and serve the figures until it is closed.

    Args:
        resources: of this process.
        kind: as `kind_of` says.
    """

    def __init__(self, resources: Resources, kind: str) -> None:
        settings = resources.settings
        registry = resources.metrics.registry
        add_process_figures(registry, kind=kind)
        self._end_tracing = tracing.configure(settings.otel_endpoint, kind=kind)
        self._presence = Presence(resources.sessions, kind=kind)
        self._presence.start()
        self._exporter: Exporter | None = None
        if settings.metrics_port is not None:
            # 0 lets the system choose, for tests and for many workers on one machine
            port = settings.metrics_port + PORT_AFTER[kind] if settings.metrics_port else 0
            self._exporter = Exporter(registry, host=settings.metrics_host, port=port)

    def close(self) -> None:
        """Take the row back, and stop serving."""
        self._presence.stop()
        self._end_tracing()
        if self._exporter is not None:
            self._exporter.close()
