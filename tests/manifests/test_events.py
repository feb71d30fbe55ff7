"""Listeners hear what a repository did, in order, and cannot stop it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from cas.errors import InvalidInputError, NotFoundError
from manifests import Event, Repository, RetentionPolicy
from manifests.events import (
    Compacted,
    Failed,
    Forgot,
    Forked,
    GarbageCollected,
    Restored,
    RunDeleted,
    Saved,
)


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


def test_every_operation_is_told_once(home: Path) -> None:
    heard: list[Event] = []
    with Repository.open(home, on_event=heard.append) as repo:
        first = repo.commit("run", {"a": 1})
        second = repo.write(repo.prepare("run", {"a": 2}))
        third = repo.submit(repo.prepare("run", {"a": 3})).result()
        repo.restore("run")
        repo.restore("run", keys=["a"])
        repo.fork("run@1", "other")
        repo.forget(RetentionPolicy(mode="latest_only"), run="run")
        repo.delete_run("other")
        repo.gc()
        repo.compact()
    assert kinds(heard) == [
        *(Saved, Saved, Saved, Restored, Restored),
        *(Forked, Forgot, RunDeleted, GarbageCollected, Compacted),
    ]
    saved = [event for event in heard if isinstance(event, Saved)]
    assert [event.checkpoint for event in saved] == [first, second, third]
    restored = [event for event in heard if isinstance(event, Restored)]
    assert [(event.checkpoint, event.partial) for event in restored] == [
        (third, False),
        (third, True),
    ]
    assert all(event.seconds >= 0 for event in heard)


def test_failures_are_told_by_class_and_code(home: Path) -> None:
    heard: list[Event] = []
    with Repository.open(home, on_event=heard.append) as repo:
        with pytest.raises(NotFoundError):
            repo.restore("absent")
        with pytest.raises(InvalidInputError):
            repo.commit("run", {"a": object()})
        repo.commit("run", {})
        late = repo.prepare("run", {"a": 1})
        repo.commit("run", {"a": 2}, parent="run@1")
        with pytest.raises(Exception, match="moved"):
            repo.submit(late).result()
    failed = [event for event in heard if isinstance(event, Failed)]
    assert [(event.operation, event.error, event.code) for event in failed] == [
        ("restore", "NotFoundError", "not-found"),
        ("save", "InvalidInputError", "invalid-input"),
        ("save", "ConflictError", "conflict"),
    ]


def test_a_dry_run_forgets_nothing_and_says_nothing(home: Path) -> None:
    heard: list[Event] = []
    with Repository.open(home) as repo:
        repo.commit("run", {})
        end = repo.events.subscribe(heard.append)
        repo.forget(RetentionPolicy(mode="all"), dry_run=True)
        assert not heard
        repo.restore("run")
        end()
        end()
        repo.restore("run")
    assert kinds(heard) == [Restored]


def test_a_listener_that_raises_stops_nothing_and_hides_nothing(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_event: Event) -> None:
        raise ValueError("a text that may hold anything")

    heard: list[Event] = []
    with Repository.open(home, on_event=broken) as repo:
        repo.events.subscribe(heard.append)
        repo.commit("run", {"a": 1})
        assert repo.restore("run") == {"a": 1}
    assert kinds(heard) == [Saved, Restored]
    assert [record.getMessage() for record in caplog.records] == [
        "a listener of events raised ValueError"
    ] * 2


def test_what_is_done_stands_in_the_log(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="hive.checkpoints")
    with Repository.open(home) as repo:
        repo.commit("run", {"a": 1}, kind="final")
        with pytest.raises(NotFoundError):
            repo.restore("absent")
        repo.gc()
    levels = [(record.levelname, record.getMessage().split(" in ")[0]) for record in caplog.records]
    assert [level for level, _ in levels] == ["DEBUG", "DEBUG", "INFO"]
    assert levels[0][1].startswith("saved 'run'@1 (final)")
    assert levels[1][1] == "restore failed: NotFoundError"
    assert levels[2][1].startswith("gc removed 0 objects")


def test_nobody_listening_costs_nothing(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="hive.checkpoints")
    with Repository.open(home) as repo:
        assert repo.events.begin("save") is None
        assert repo.events.during("save") is repo.events.during("restore")
        repo.commit("run", {})


def test_a_file_that_is_replaced_stands_in_the_log_of_the_store(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="hive.store")
    with Repository.open(home) as repo:
        repo.commit("run", {})
        repo.compact()
        repo.restore("run")
    told = [record.getMessage() for record in caplog.records if record.name == "hive.store"]
    assert told == ["the file was replaced; going on with generation 2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnded(Event):
    """A kind of event that a layer above adds."""

    run: str
    steps: int
    good: bool
    code: str | None
    path: tuple[str, ...]


def test_kinds_of_other_layers_have_names_and_attributes(home: Path) -> None:
    event = NodeEnded(run="r", steps=3, good=True, code=None, path=("a",), seconds=0.5)
    assert event.name == "node_ended"
    assert str(event) == "node_ended"
    assert event.attributes() == {"run": "r", "steps": 3, "good": True}
    assert RunDeleted(run="r", checkpoints=2, seconds=0).attributes() == {
        "run": "r",
        "checkpoints": 2,
    }
    heard: list[Event] = []
    with Repository.open(home, on_event=heard.append) as repo:
        repo.events.emit(event)
    assert heard == [event]


def test_a_layer_s_events_are_logged_under_its_name(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kind = type("Begun", (Event,), {"__module__": "hive.graph.events"})
    with Repository.open(home) as repo:
        repo.events.emit(kind(seconds=0.25))
    told = [(record.name, record.getMessage()) for record in caplog.records]
    assert ("hive.graph", "begun in 0.2500 s") in told
