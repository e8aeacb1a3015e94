"""OpenTelemetry traces, where an endpoint is set and the extra `otel` is installed; else nothing.

As the log it is one per process: whoever does something worth seeing opens a span, and need not
know whether anybody looks.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:  # an optional package
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

log = structlog.get_logger(__name__)

TRACEPARENT = "traceparent"
PATH = "/v1/traces"
FLUSH_MS = 5000


class _Process:
    """What this process traces with; None: nothing is traced."""

    tracer: "Tracer | None" = None


def configure(endpoint: str | None, *, kind: str) -> Callable[[], None]:
    """Send traces from now on.

    Args:
        endpoint: OTLP/HTTP address, with or without its path; None: no traces.
        kind: which process this is, as `api`.

    Returns:
        What sends the last spans and ends it.
    """
    if endpoint is None:
        return _do_nothing
    if find_spec("opentelemetry.exporter") is None or find_spec("opentelemetry.sdk") is None:
        log.warning("tracing_not_installed", mend="install reelseek with the extra `otel`")
        return _do_nothing
    provider = _provider(endpoint, kind)
    _Process.tracer = provider.get_tracer("reelseek")

    def stop() -> None:
        _Process.tracer = None
        provider.force_flush(FLUSH_MS)
        provider.shutdown()

    return stop


@contextmanager
def span(
    name: str, *, parent: str | None = None, server: bool = False, **attributes: Any
) -> "Iterator[Span | None]":
    """Do something as part of a trace; an exception that leaves it is noted.

    Args:
        name: what is done; of few kinds, ids are attributes.
        parent: `traceparent` of what asked for it elsewhere (W3C); if None, the span around it.
        server: whether it answers a request.
        attributes: what else is worth knowing; None is left out.
    """
    if _Process.tracer is None:
        yield None
        return
    from opentelemetry.propagate import extract  # noqa: PLC0415 (optional)
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    with _Process.tracer.start_as_current_span(
        name,
        context=extract({TRACEPARENT: parent}) if parent else None,
        kind=SpanKind.SERVER if server else SpanKind.INTERNAL,
        attributes=_named(attributes),
    ) as current:
        yield current


def note(attributes: Mapping[str, Any], *, name: str | None = None) -> None:
    """Add to the span that is open, and rename it."""
    if _Process.tracer is None:
        return
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 (optional)

    current = get_current_span()
    current.set_attributes(_named(attributes))
    if name is not None:
        current.update_name(name)


def traceparent() -> str | None:
    """Return what lets work elsewhere be part of this trace; None where there is none."""
    if _Process.tracer is None:
        return None
    from opentelemetry.propagate import inject  # noqa: PLC0415 (optional)

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get(TRACEPARENT)


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"reelseek.{name}": value for name, value in attributes.items() if value is not None}


def _provider(endpoint: str, kind: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    address = endpoint.rstrip("/")
    address = address if address.endswith(PATH) else address + PATH
    told = {"service.name": f"reelseek-{kind}", "service.version": version("reelseek")}
    provider = TracerProvider(resource=Resource.create(told), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address)))
    return provider


def _do_nothing() -> None:
    """There is nothing to end."""
