"""Figures that live elsewhere (SQL, the disk, the replica): read whenever Prometheus asks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from service.errors import ServiceError

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Series:
    """Figures of one name that differ by a label.

    Attributes:
        label: its name.
        values: figure by the label's value.
    """

    label: str
    values: Mapping[str, float]


Figure = float | Mapping[str, float] | Series
"""A mapping is a series by the label `state`."""


class Readings(dict[str, Figure]):
    """Figures by name."""


class Watched(Collector):
    """Asks for readings when it is collected; without a database the others are still told.

    Args:
        read: returns the figures as they are now.
    """

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Tell Prometheus' registry nothing yet: reading would need the database."""
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Read the figures now."""
        try:
            readings = self._read()
        except (ServiceError, SQLAlchemyError) as error:
            log.warning("figures_not_read", error=str(getattr(error, "orig", None) or error))
            return
        for name, figure in readings.items():
            text = name.replace("_", " ")
            if isinstance(figure, Series | Mapping):
                series = figure if isinstance(figure, Series) else Series("state", figure)
                family = GaugeMetricFamily(name, text, labels=[series.label])
                for value, number in series.values.items():
                    family.add_metric([value], number)
            else:
                family = GaugeMetricFamily(name, text, value=figure)
            yield family
