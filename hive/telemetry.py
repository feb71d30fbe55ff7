"""OpenTelemetry: spans and metrics of what a repository does. Needs ``hive-checkpoints[otel]``.

::

    from hive.telemetry import instrument

    stop = instrument(repository)

Spans are called ``hive.save``, ``hive.restore``, ``hive.gc`` and so on, below the span that is
current where the operation ran. They and the metrics carry names and numbers: of runs, nodes, bytes
and objects; never a value of a state, and never the text of an error.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hive.errors import InvalidInputError
from hive.graph.arguments import check_instance
from manifests import Clock, Event, Repository, system_clock
from manifests.clock import checked_clock
from manifests.events import Failed, GarbageCollected, Saved

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["SCOPE", "instrument"]

SCOPE: Final = "hive.checkpoints"
"""The name of the tracer and of the meter."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def instrument(
    repository: Repository,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    clock: Clock = system_clock,
) -> Callable[[], None]:
    """Report what a repository does from now on as spans and metrics.

    Args:
        repository: The repository; of a ``CheckpointManager``, its ``repository``.
        tracer_provider: Where spans go; by default the global one.
        meter_provider: Where metrics go; by default the global one.
        clock: Tells when an operation ended.

    Returns:
        What ends it.

    Raises:
        InvalidInputError: The package opentelemetry-api is not installed, or an argument is of a
            wrong class.
    """
    check_instance(repository, Repository, "repository")
    clock = checked_clock(clock)
    try:
        from opentelemetry import metrics, trace
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            "telemetry needs the package opentelemetry-api: pip install 'hive-checkpoints[otel]'"
        ) from error
    spans = _Spans(trace.get_tracer(SCOPE, tracer_provider=tracer_provider), clock)
    meters = _Metrics(metrics.get_meter(SCOPE, meter_provider=meter_provider))

    def listen(event: Event) -> None:
        spans.record(event)
        meters.record(event)

    return repository.events.subscribe(listen)


class _Spans:
    """Makes a span of each event, which began as many seconds ago as it took."""

    def __init__(self, tracer: Any, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock

    def record(self, event: Event) -> None:
        from opentelemetry.trace import Status, StatusCode

        ended = (self._clock() - _EPOCH) // dt.timedelta(microseconds=1) * 1_000
        name = event.operation if isinstance(event, Failed) else event.name
        span = self._tracer.start_span(
            f"hive.{name}",
            start_time=ended - round(event.seconds * 1e9),
            attributes=_attributes(event),
        )
        if isinstance(event, Failed):
            span.set_status(Status(StatusCode.ERROR, event.error))
        span.end(end_time=ended)


class _Metrics:
    """Counts and measures. Names of runs stay out: each would be a series of its own."""

    def __init__(self, meter: Any) -> None:
        self._duration = meter.create_histogram(
            "hive.operation.duration", unit="s", description="How long operations took"
        )
        self._new_bytes = meter.create_counter(
            "hive.save.new_bytes", unit="By", description="Bytes that saving added to the store"
        )
        self._logical_bytes = meter.create_counter(
            "hive.save.logical_bytes", unit="By", description="Bytes of the states as full copies"
        )
        self._removed_bytes = meter.create_counter(
            "hive.gc.removed_bytes", unit="By", description="Bytes of objects that gc removed"
        )
        self._removed_objects = meter.create_counter(
            "hive.gc.removed_objects", unit="{object}", description="Objects that gc removed"
        )

    def record(self, event: Event) -> None:
        if isinstance(event, Failed):
            told = {"hive.operation": event.operation, "error.type": event.error}
            self._duration.record(event.seconds, told)
            return
        self._duration.record(event.seconds, {"hive.operation": event.name})
        if isinstance(event, Saved):
            self._new_bytes.add(event.checkpoint.new_bytes)
            self._logical_bytes.add(event.checkpoint.logical_bytes)
        elif isinstance(event, GarbageCollected) and not event.report.dry_run:
            self._removed_bytes.add(event.report.payload_bytes_removed)
            self._removed_objects.add(event.report.objects_removed)


def _attributes(event: Event) -> Mapping[str, str | int | bool]:
    if isinstance(event, Failed):
        return {"error.type": event.error, "hive.code": event.code or ""}
    return {f"hive.{name}": told for name, told in event.attributes().items()}
