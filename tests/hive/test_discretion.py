"""Values of states appear in no log, event, span or error. A canary that sings shows a leak."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hive import CheckpointManager, HiveError
from hive.telemetry import instrument
from manifests import Event, Redaction, Registry, Repository, RetentionPolicy
from tests.hive.ui.sites import pages_of

CANARY = "canary-4711"


class Talkative:
    """A value that no store takes, and that tells itself whenever it is asked."""

    def __repr__(self) -> str:
        return CANARY

    __str__ = __repr__


class Failing:
    """A registered class whose own code fails, naming the value."""

    def __init__(self, secret: str = CANARY) -> None:
        self.secret = secret


def fail(value: Any) -> Any:
    raise ValueError(f"no {CANARY} can be used: {value!r}")


@dataclass
class Versioned:
    secret: str


def nested(depth: int) -> Any:
    value: Any = CANARY
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> Any:
    value: list[Any] = [CANARY]
    value.append(value)
    return value


UNSTORABLE: dict[str, Callable[[], Any]] = {
    "unknown class": Talkative,
    "unknown class inside": lambda: {"a": [{"b": Talkative()}]},
    "failing class": Failing,
    "lone surrogate": lambda: CANARY + "\ud800",
    "too deep": lambda: nested(101),
    "cycle": cycle,
    "twins": lambda: {float("nan"): CANARY, float("nan"): 1},
    "long key": lambda: {CANARY * 9_000: 1},
    "module": lambda: {"secret": CANARY, "bad": logging},
}


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made.register(Failing, to_fields=fail, from_fields=fail)
    made.register(Versioned)
    return made


class Ears:
    """Everything that a program can hear of a repository."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self._caplog = caplog
        self._heard: list[str] = []

    def __call__(self, event: Event) -> None:
        self._heard += [str(event), repr(event), repr(event.attributes())]

    def error(self, error: BaseException) -> None:
        self._heard += [str(error), repr(error), repr(error.args), repr(vars(error))]

    def all(self) -> str:
        records = [record.getMessage() + repr(record.__dict__) for record in self._caplog.records]
        return "\n".join((*self._heard, *records))


@pytest.fixture
def ears(caplog: pytest.LogCaptureFixture) -> Ears:
    return Ears(caplog)


@pytest.mark.parametrize("make", UNSTORABLE.values(), ids=UNSTORABLE.keys())
def test_what_cannot_be_stored(
    make: Callable[[], Any], home: Path, registry: Registry, ears: Ears
) -> None:
    with Repository.open(home, registry=registry, on_event=ears) as repository:
        for state in (make(), {"key": make()}, {"list": [1, make()]}):
            with pytest.raises(HiveError) as caught:
                repository.commit("run", state)
            ears.error(caught.value)
        with pytest.raises(HiveError) as caught:
            repository.commit("run", {}, execution={"key": make()})
        ears.error(caught.value)
        repository.commit("run", {"a": CANARY})
        with pytest.raises(HiveError) as caught:
            repository.submit(repository.prepare("run", {"a": make()})).result()
        ears.error(caught.value)
    assert "failed" in ears.all()
    assert CANARY not in ears.all()


def test_everything_that_works(home: Path, registry: Registry, ears: Ears) -> None:
    secret = {"text": CANARY * 3_000, "list": [CANARY] * 99, "key": {"b": Versioned(CANARY)}}
    with Repository.open(home, registry=registry, on_event=ears) as repository:
        stop = instrument(repository)
        for number in range(4):
            repository.commit("run", {**secret, "n": number}, execution={"error": CANARY})
        repository.restore("run")
        repository.restore("run", keys=["text"])
        repository.diff("run@1", "run")
        repository.fork("run@2", "other")
        repository.forget(RetentionPolicy(mode="latest_only"))
        repository.delete_run("other")
        repository.gc()
        repository.compact()
        repository.check()
        stop()
    with CheckpointManager(home, on_event=ears) as manager:
        manager.save("again", {"text": CANARY})
    assert "saved 'run'@1" in ears.all()
    assert CANARY not in ears.all()


def test_what_cannot_be_read(home: Path, registry: Registry, ears: Ears) -> None:
    with Repository.open(home, registry=registry) as repository:
        repository.commit("run", {"v": Versioned(CANARY), "text": CANARY})
    newer = Registry()
    newer.register(Versioned, version=2, migrations={1: fail})
    other = Registry()
    other.register(Failing, name="Versioned", to_fields=fail, from_fields=fail)
    for changed in (newer, other):
        with Repository.open(home, registry=changed, on_event=ears) as repository:
            for read in (repository.restore, lambda ref: repository.value(ref, "v")):
                with pytest.raises(HiveError) as caught:
                    read("run")
                ears.error(caught.value)
    with Repository.open(home, registry=registry, on_event=ears) as repository:
        for path in ("text.x", "text[0]", "v.absent", "v.secret[3]", "[#9]"):
            with pytest.raises(HiveError) as caught:
                repository.value("run", path)
            ears.error(caught.value)
    assert CANARY not in ears.all()


def test_what_a_listener_or_a_redaction_raises(home: Path, ears: Ears) -> None:
    redact = Redaction(["secret"], lambda _path, value: fail(value))
    with Repository.open(home, on_event=fail, redact=redact) as repository:
        repository.events.subscribe(ears)
        repository.commit("run", {"a": CANARY})
        with pytest.raises(HiveError) as caught:
            repository.commit("run", {"secret": CANARY})
        ears.error(caught.value)
    assert "raised ValueError" in ears.all()
    assert CANARY not in ears.all()


def test_pages_log_no_value(home: Path, ears: Ears, monkeypatch: pytest.MonkeyPatch) -> None:
    with Repository.open(home) as repository:
        repository.commit("run", {"a": CANARY})
        pages = pages_of(repository)
        assert CANARY in pages.get("/step", run="run", at=1)
        monkeypatch.setattr(Repository, "outline", fail)
        pages.get("/step", run="run", at=1, expects=500)
    assert "raised" in ears.all()
    assert CANARY not in ears.all().replace("GET", "")


def test_the_canary_can_be_heard(ears: Ears) -> None:
    """The control: what is listened to would show a value."""
    logging.getLogger("hive.checkpoints").debug("saved %s", CANARY)
    assert CANARY in ears.all()
    with pytest.raises(ValueError, match=CANARY) as caught:
        fail(1)
    other = "".join(traceback.format_exception(caught.value))
    assert CANARY in other
