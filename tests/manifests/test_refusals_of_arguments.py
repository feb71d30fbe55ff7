"""Arguments of the wrong type or sign: a clear error, never Python's own or an empty answer."""

from __future__ import annotations

import datetime as dt
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cas.errors import InvalidInputError, NotFoundError
from manifests import Redaction, Registry, Repository, RetentionPolicy

WRONG: Any = 5
TEXT: Any = "secret"


@dataclass
class Plan:
    goal: str


class Honey(dict[str, int]):
    pass


USES: dict[str, Callable[[Any], Any]] = {
    "value": lambda repo: repo.value("r", 5),
    "forget": lambda repo: repo.forget(5),
    "put_pending": lambda repo: repo.put_pending("r", 1, [1]),
    "log": lambda repo: repo.log("r", limit=-1),
    "log of a text": lambda repo: repo.log("r", limit="1"),
    "diff": lambda repo: repo.diff("r", "r", limit=-1),
    "compare": lambda repo: repo.compare("r", "r", limit=-1),
    "compare from before": lambda repo: repo.compare("r", "r", start=-1),
    "diff of too many": lambda repo: repo.diff("r", "r", limit=1 << 63),
    "search for too many": lambda repo: repo.search("x", runs=["r"], limit=10**5_000),
    "search": lambda repo: repo.search("x", runs=["r"], limit=-1),
    "keys": lambda repo: repo.keys("r", limit=-1),
    "search refs": lambda repo: repo.search("x", refs="r"),
    "search runs": lambda repo: repo.search("x", runs="r"),
    "search for nothing": lambda repo: repo.search(None),
    "search for bytes": lambda repo: repo.search(b"x"),
    "next_nodes": lambda repo: repo.commit("r", {}, next_nodes=5),
    "next_nodes of a text": lambda repo: repo.commit("r", {}, next_nodes="abc"),
    "changed": lambda repo: repo.commit("r", {}, changed=5),
    "changed of a text": lambda repo: repo.commit("r", {}, changed="abc"),
    "labels": lambda repo: repo.commit("r", {}, labels=["x"]),
    "forget as of a number": lambda repo: repo.forget(RetentionPolicy(), now=5),
    "forget as of a moment nowhere": lambda repo: repo.forget(
        RetentionPolicy(), now=dt.datetime(2030, 1, 1)
    ),
    "forget of runs": lambda repo: repo.forget(RetentionPolicy(keep_last=1), run=["r"]),
    "gc": lambda repo: repo.gc(time_budget="1s"),
    "gc of nan": lambda repo: repo.gc(time_budget=float("nan")),
    "export": lambda repo: repo.export(["r"], None),
    "export of a text": lambda repo: repo.export("r", "file"),
    "import": lambda repo: repo.import_bundle(None),
    "backup": lambda repo: repo.backup(None),
    "migrations": lambda repo: Registry().register(Plan, version=2, migrations={1: TEXT}),
    "migrations listed": lambda repo: Registry().register(Plan, migrations=[1]),  # type: ignore[arg-type]
    "version": lambda repo: Registry().register(Plan, version=TEXT),
    "version with a point": lambda repo: Registry().register(Plan, version=1.5),  # type: ignore[arg-type]
    "name": lambda repo: Registry().register(Plan, name=WRONG),
    "to_fields": lambda repo: Registry().register(Plan, to_fields=WRONG, from_fields=WRONG),
    "to_parts": lambda repo: Registry().register(Plan, to_parts=WRONG),
    "content": lambda repo: Registry().register(
        Honey, to_fields=vars, from_fields=Honey, content=TEXT
    ),
    "redaction of a text": lambda repo: Redaction(TEXT, lambda path, value: "***"),
    "redaction by a text": lambda repo: Redaction(["x"], TEXT),
    "register": lambda repo: Registry().register(WRONG),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_argument_that_cannot_be_used_is_refused(
    repo: Repository, use: Callable[[Any], Any]
) -> None:
    repo.commit("r", {"a": 1})
    with pytest.raises(InvalidInputError):
        use(repo)


OPTIONS: dict[str, Any] = {
    "registry": [Plan],
    "redact": lambda path, value: "***",
    "on_event": 5,
    "clock": 5,
    "kept_bytes": -1,
    "max_bytes": "1GB",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_cannot_be_used_is_refused_when_the_store_is_opened(
    home: Path, name: str
) -> None:
    with pytest.raises(InvalidInputError, match=name):
        Repository.open(home, **{name: OPTIONS[name]})
    assert not home.exists()


def test_a_clock_that_tells_no_moment_is_named(home: Path) -> None:
    for clock in (lambda: 5, lambda: dt.datetime(2030, 1, 1)):
        with (
            Repository.open(home, clock=clock) as repo,  # type: ignore[arg-type]
            pytest.raises(InvalidInputError, match="clock returns is a moment with a time zone"),
        ):
            repo.commit("r", {"a": 1})


def test_a_path_that_is_no_text_is_refused(home: Path) -> None:
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        Repository.open(home / os.fsdecode(b"\xff"))
    assert not home.exists()


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (Plan("x"), r"where the store is opened\)$"),
        (Honey(), r"or keep plain data in its place, here dict\(value\)$"),
        (OrderedDict(), r"here dict\(value\)$"),
        (deque([1]), r"here list\(value\)$"),
        (range(3), r"here list\(value\)$"),
        (open, r"or keep plain data in its place$"),
    ],
)
def test_a_value_that_cannot_be_stored_comes_with_what_to_do(
    repo: Repository, value: Any, advice: str
) -> None:
    with pytest.raises(InvalidInputError, match=rf"state\['x'\]: values of type .*{advice}"):
        repo.commit("r", {"x": value})


def test_a_reference_where_a_run_belongs_is_told_from_a_run_that_is_not_there(
    repo: Repository,
) -> None:
    repo.commit("trip", {"a": 1})
    for name in ("trip@99", "trip~1"):
        with pytest.raises(NotFoundError, match="but a run 'trip': this takes a run, not one of"):
            repo.log(name)
    with pytest.raises(NotFoundError, match="there is no run 'trap@99'; list the runs"):
        repo.log("trap@99")


def test_a_key_that_is_not_there_comes_with_those_that_are(repo: Repository) -> None:
    repo.commit("r", {"messages": [], "a key": 1, 7: {f"k{n}": n for n in range(500)}})
    with pytest.raises(NotFoundError, match=r"; there is messages, \['a key'\], \[7\]$"):
        repo.value("r", "mesages")
    with pytest.raises(NotFoundError, match=r"; there is k0, .*, k11 and more$"):
        repo.value("r", "[7].x")
    with pytest.raises(NotFoundError, match=r"has 0 items; there is none at \[<int>\]$"):
        repo.value("r", ["messages", 10**5_000])
    with pytest.raises(NotFoundError, match=r"state\['a key'\] has no \.x$"):
        repo.value("r", "['a key'].x")
