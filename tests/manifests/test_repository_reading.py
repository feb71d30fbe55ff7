"""Restoring little of a large state, registered types, and secrets that never get in."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pydantic
import pytest

from cas.errors import (
    HiveError,
    InvalidInputError,
    NotFoundError,
)
from cas.kept import KeptRecords
from manifests import (
    Redaction,
    Registry,
    Repository,
    UnregisteredValue,
)
from manifests.reading import StoreReader


def reads_of(
    monkeypatch: pytest.MonkeyPatch, repo: Repository, ref: str, key: str
) -> tuple[int, Any]:
    """How many records restoring one key reads, and the value."""
    readers: list[StoreReader] = []
    create = StoreReader.__init__

    def note(self: StoreReader, *arguments: Any, **keywords: Any) -> None:
        create(self, *arguments, **keywords)
        readers.append(self)

    monkeypatch.setattr(StoreReader, "__init__", note)
    monkeypatch.setattr(repo._store, "kept", KeptRecords(0))  # what is in memory counts as well
    value = repo.restore(ref, keys=[key])
    monkeypatch.setattr(StoreReader, "__init__", create)
    return sum(reader.reads for reader in readers), value


def test_one_key_beside_a_value_of_200_megabytes_reads_few_records(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One megabyte of noise again and again: making and storing 200 of them would take seconds.
    block = random.Random(1).randbytes(1 << 20)
    state = {
        "large": block * 200,
        "messages": [{"role": "user", "content": f"message {n}"} for n in range(100)],
        "small": 7,
    }
    with Repository.open(home) as repo:
        checkpoint = repo.commit("r", state)
        assert checkpoint.logical_bytes > 200_000_000
        reads, value = reads_of(monkeypatch, repo, "r", "small")
        assert (value, reads <= 20) == ({"small": 7}, True), reads
        reads, value = reads_of(monkeypatch, repo, "r", "messages")
        assert value == {"messages": state["messages"]}
        assert reads <= 20
        assert repo.restore("r", keys=["large"])["large"] == state["large"]


def test_one_key_of_ten_thousand_reads_few_records(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"key {number:05}" for number in range(10_000)]
    random.Random(2).shuffle(keys)
    state = {key: {"value": key, "text": "t" * 80} for key in keys}
    repo.commit("r", state)
    for key in (keys[0], keys[-1], keys[5_000], min(keys), max(keys)):
        reads, value = reads_of(monkeypatch, repo, "r", key)
        assert value == {key: state[key]}
        assert reads <= 20
    with pytest.raises(NotFoundError):
        repo.restore("r", keys=["key 10000"])
    assert list(repo.restore("r")) == keys, "the order of keys is state"


@dataclass
class Step:
    """A dataclass in a state."""

    name: str
    seconds: float
    notes: list[str]


class Session(pydantic.BaseModel):
    """A model as a whole state."""

    user: str
    steps: list[Step]
    budget: Decimal


def test_registered_types_come_back_as_themselves(home: Path) -> None:
    registry = Registry()
    registry.register(Step)
    registry.register(Session)
    steps = [Step(f"step {number}", number / 3, ["note"] * number) for number in range(50)]
    session = Session.model_construct(user="ada", steps=steps, budget=Decimal("10.50"))
    with Repository.open(home, registry=registry) as repo:
        first = repo.commit("r", session)
        session.steps.append(Step("late", 1.0, []))
        second = repo.commit("r", session)
        session.steps[3].notes.append("changed in place")
        third = repo.commit("r", session)
        restored = repo.restore("r")
        assert type(restored) is Session
        assert restored == session
        assert len(repo.restore(first).steps) == 50
        assert repo.restore("r", keys=["user"]) == {"user": "ada"}
        assert [change.path for change in repo.diff(first, second)] == [".steps[50]"]
        assert [change.path for change in repo.diff(second, third)] == [".steps[3].notes[3]"]
        repo.commit("mixed", {"by": {"id": steps[0]}, "list": (steps[1], None)})
        assert repo.restore("mixed")["list"] == (steps[1], None)
    with Repository.open(home) as plain:
        with pytest.raises(InvalidInputError, match="register"):
            plain.commit("other", session)
        unknown = plain.restore("r@1")
        assert isinstance(unknown, UnregisteredValue)
        assert (unknown.name, unknown.version) == ("Session", 1)
        copied = plain.commit("copy", unknown)
        assert copied.logical_bytes == first.logical_bytes
    with Repository.open(home, registry=registry) as repo:
        assert repo.restore("copy").steps == [
            *steps[:3],
            Step("step 3", 1.0, ["note"] * 3),
            *steps[4:50],
        ]
        assert repo.diff("r@1", "copy") == []


def test_secrets_are_replaced_before_anything_is_hashed(home: Path) -> None:
    secret = "sk-canary-5tQ9xVb2LmZr8KpW3nYc7HdJ"
    noise = random.Random(1).randbytes(500)  # without it, compression would hide the secret
    seen: list[str] = []

    def hide(path: str, value: Any) -> str:
        seen.append(path)
        return f"<{len(value)} characters>"

    redact = Redaction(["config.api_key", "messages.*.token", "**.password"], hide)
    state = {
        "config": {"api_key": secret, "model": "m"},
        "messages": [{"token": secret, "text": "hi"}, {"text": "no secret"}],
        "deep": {"er": [{"password": secret}]},
        "noise": noise,
    }
    kept = copy.deepcopy(state)
    with Repository.open(home, redact=redact) as repo:
        for _ in range(2):
            repo.commit("r", state)
        assert state == kept, "the caller's own state is left alone"
        restored = repo.restore("r")
    hidden = f"<{len(secret)} characters>"
    assert restored["config"] == {"api_key": hidden, "model": "m"}
    assert restored["messages"] == [{"token": hidden, "text": "hi"}, {"text": "no secret"}]
    assert restored["deep"] == {"er": [{"password": hidden}]}
    assert set(seen) == {
        "state['config']['api_key']",
        "state['messages'][0]['token']",
        "state['deep']['er'][0]['password']",
    }
    with Repository.open(home / "raw") as raw:
        raw.commit("r", state)
    found = [
        any(secret.encode() in file.read_bytes() for file in place.rglob("*") if file.is_file())
        for place in (home / "raw" / "objects", home / "objects")
    ]
    assert found == [True, False]


def test_errors_do_not_show_values(repo: Repository) -> None:
    secret = "hunter2"
    with pytest.raises(HiveError) as caught:
        repo.commit("r", {"password": [secret, object()]})
    assert secret not in str(caught.value)
