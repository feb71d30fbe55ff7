"""Spans and metrics of a repository, as the SDK of OpenTelemetry exports them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from hive import CheckpointManager, InvalidInputError, NotFoundError
from hive.graph import Goal, GraphExecutor, GraphSpec, NodeSpec, Runtime
from hive.telemetry import SCOPE, instrument
from manifests import Repository


class Telemetry:
    """Collects what is exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.traces = TracerProvider(shutdown_on_exit=False)
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def attach(self, repository: Repository) -> Any:
        return instrument(repository, tracer_provider=self.traces, meter_provider=self.meters)

    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == SCOPE
                for metric in scope.metrics:
                    found[metric.name] = [
                        (dict(point.attributes or {}), point) for point in metric.data.data_points
                    ]
        return found


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.traces.shutdown()
    made.meters.shutdown()


def test_spans_of_every_operation(home: Path, telemetry: Telemetry) -> None:
    with Repository.open(home) as repository:
        telemetry.attach(repository)
        saved = repository.commit("run", {"a": 1}, node="read", kind="final")
        repository.restore("run")
        repository.fork("run", "other")
        repository.delete_run("other")
        repository.gc()
        repository.compact()
    spans = telemetry.spans()
    assert [span.name for span in spans] == [
        *("hive.save", "hive.restore", "hive.fork", "hive.delete_run", "hive.gc", "hive.compact")
    ]
    assert dict(spans[0].attributes) == {
        "hive.run": "run",
        "hive.sequence": 1,
        "hive.kind": "final",
        "hive.node": "read",
        "hive.new_bytes": saved.new_bytes,
        "hive.new_objects": saved.new_objects,
        "hive.logical_bytes": saved.logical_bytes,
    }
    assert spans[4].attributes["hive.complete"] is True
    assert all(0 < span.start_time <= span.end_time for span in spans)
    assert all(span.status.status_code is StatusCode.UNSET for span in spans)


def test_a_failure_is_a_span_with_the_error_s_class(home: Path, telemetry: Telemetry) -> None:
    with Repository.open(home) as repository:
        telemetry.attach(repository)
        with pytest.raises(NotFoundError):
            repository.restore("absent")
    (span,) = telemetry.spans()
    assert span.name == "hive.restore"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "NotFoundError"
    assert dict(span.attributes) == {"error.type": "NotFoundError", "hive.code": "not-found"}
    ((told, point),) = telemetry.metrics()["hive.operation.duration"]
    assert told == {"hive.operation": "restore", "error.type": "NotFoundError"}
    assert point.count == 1


def test_spans_stand_below_the_one_that_is_current(home: Path, telemetry: Telemetry) -> None:
    tracer = telemetry.traces.get_tracer("agent")
    with Repository.open(home) as repository:
        telemetry.attach(repository)
        with tracer.start_as_current_span("step"):
            repository.commit("run", {})
    saved, step = telemetry.spans()
    assert saved.parent.span_id == step.context.span_id


def test_metrics_count_bytes_and_time(home: Path, telemetry: Telemetry) -> None:
    with Repository.open(home) as repository:
        telemetry.attach(repository)
        saved = [repository.commit("run", {"n": n, "text": "t" * 999}) for n in range(3)]
        repository.delete_run("run")
        report = repository.gc()
        repository.gc(dry_run=True)
    metrics = telemetry.metrics()
    (new,) = metrics["hive.save.new_bytes"]
    (logical,) = metrics["hive.save.logical_bytes"]
    assert new[1].value == sum(each.new_bytes for each in saved)
    assert logical[1].value == sum(each.logical_bytes for each in saved)
    assert metrics["hive.gc.removed_bytes"][0][1].value == report.payload_bytes_removed > 0
    assert metrics["hive.gc.removed_objects"][0][1].value == report.objects_removed
    counts = {told["hive.operation"]: at.count for told, at in metrics["hive.operation.duration"]}
    assert counts == {"save": 3, "delete_run": 1, "gc": 2}


def test_it_ends_when_it_is_ended(home: Path, telemetry: Telemetry) -> None:
    with Repository.open(home) as repository:
        stop = telemetry.attach(repository)
        repository.commit("run", {})
        stop()
        repository.commit("run", {})
    assert len(telemetry.spans()) == 1


def test_the_global_providers_are_the_default(home: Path) -> None:
    with Repository.open(home) as repository:
        instrument(repository)()


def test_what_a_manager_saves_is_told(home: Path, telemetry: Telemetry) -> None:
    heard: list[str] = []
    with CheckpointManager(home, on_event=lambda event: heard.append(event.name)) as manager:
        telemetry.attach(manager.repository)
        manager.save("run", {"a": 1})
        manager.flush()
    assert heard == ["save"]
    assert [span.name for span in telemetry.spans()] == ["hive.save"]
    with Repository.open(home) as repository:
        with CheckpointManager(repository, on_event=lambda event: heard.append(event.name)) as own:
            own.save("run", {"a": 2})
        repository.restore("run")
    assert heard == ["save", "save"]


def test_a_missing_package_is_named(home: Path) -> None:
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from hive.telemetry import instrument\n"
        "from manifests import Repository\n"
        "instrument(Repository.open(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", script, str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "pip install 'hive-checkpoints[otel]'" in done.stderr


def test_what_an_executor_does_is_told_beside_it(home: Path, telemetry: Telemetry) -> None:
    def secret() -> str:
        return "canary-4711"

    node = NodeSpec(id="look_up", output_keys=["name"], function=secret)
    graph = GraphSpec(id="g", entry_node="look_up", terminal_nodes=["look_up"], nodes=[node])
    with CheckpointManager(home) as manager:
        telemetry.attach(manager.repository)
        executor = GraphExecutor(Runtime(), manager)
        result = asyncio.run(executor.execute(graph, Goal(id="g", name="g"), {}, run="r"))
    assert result.output["name"] == "canary-4711"
    spans = {span.name: dict(span.attributes) for span in telemetry.spans()}
    assert spans.keys() >= {
        *("hive.save", "hive.run_began", "hive.attempt_ended", "hive.run_ended")
    }
    assert spans["hive.attempt_ended"]["hive.node"] == "look_up"
    assert spans["hive.run_ended"]["hive.status"] == "completed"
    assert "canary-4711" not in repr(spans)
    told = [attributes for attributes, _ in telemetry.metrics()["hive.operation.duration"]]
    assert {"hive.operation": "attempt_ended"} in told


def test_what_cannot_be_watched_is_refused(home: Path) -> None:
    for wrong in (5, None):
        with pytest.raises(InvalidInputError, match=r"repository is .*: pass a Repository"):
            instrument(wrong)  # type: ignore[arg-type]
    with (
        Repository.open(home) as repo,
        pytest.raises(InvalidInputError, match="clock is a function"),
    ):
        instrument(repo, clock=5)  # type: ignore[arg-type]
