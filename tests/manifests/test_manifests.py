"""Manifests: at most a kibibyte, and everything a caller gave comes back."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.errors import (
    InvalidInputError,
    LimitError,
)
from manifests import (
    Registry,
    Repository,
)


def exactly(value: Any) -> str:
    """A text that differs where two values differ in type or order, and not only in equality."""
    return repr(value)


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=1_024).filter(
    lambda text: len(text.encode()) <= 1_024
)
LABELS = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    max_size=60,
).filter(lambda labels: sum(len((k + v).encode()) for k, v in labels.items()) <= 512)


@settings(max_examples=150)
@given(
    run=NAMES,
    kind=NAMES,
    node=st.none() | NAMES,
    next_nodes=st.lists(NAMES, max_size=5),
    many=st.integers(0, 400),
    graph=st.none() | NAMES | st.binary(min_size=32, max_size=32).map(bytes.hex),
    labels=LABELS,
    state=st.binary(max_size=2_000) | st.lists(st.integers(), max_size=200),
    execution=st.none() | st.dictionaries(st.text("abc", max_size=5), st.binary(max_size=500)),
)
def test_a_manifest_has_at_most_a_kibibyte_and_keeps_everything(
    shared: Repository,
    run: str,
    kind: str,
    node: str | None,
    next_nodes: list[str],
    many: int,
    graph: str | None,
    labels: dict[str, str],
    state: Any,
    execution: dict[str, bytes] | None,
) -> None:
    next_nodes = next_nodes + [f"node {number}" for number in range(many)]
    prepared = shared.prepare(
        run,
        state,
        kind=kind,
        node=node,
        next_nodes=next_nodes,
        graph=graph,
        labels=labels,
        execution=execution,
    )
    assert len(prepared.objects[prepared.id].payload) <= 1_024
    written = shared.write(prepared)
    found = shared.resolve(written.id)
    assert found == written
    assert (found.run, found.kind, found.node) == (run, kind, node)
    assert (found.next_nodes, found.graph) == (tuple(next_nodes), graph)
    assert found.labels == labels
    assert list(found.labels) == list(labels), "the order of labels is kept"
    assert exactly(shared.restore(written)) == exactly(state)
    assert shared.execution(written) == (execution or {})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    with Repository.open(tmp_path_factory.mktemp("shared")) as opened:
        yield opened


def test_labels_have_at_most_512_bytes_in_all(repo: Repository) -> None:
    labels = {"ä" * 100: "b" * 200, "c": "d" * 111}
    assert repo.commit("r", {}, labels=labels).labels == labels
    with pytest.raises(LimitError, match="513"):
        repo.commit("r", {}, labels=labels | {"c": "d" * 112})
    for odd in ({"a": 1}, {1: "a"}, {"a": None}):
        with pytest.raises(InvalidInputError, match="labels are texts"):
            repo.commit("r", {}, labels=odd)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="surrogate"):
        repo.commit("r", {}, labels={"a": "\ud800"})
    assert repo.commit("r", {}).sequence == 2


class Name(enum.StrEnum):
    NEXT = "next"


def test_members_of_enumerations_are_names_like_any_other(tmp_path: Path) -> None:
    """Where their class is registered too, and wherever they are read."""
    registry = Registry()
    registry.register(Name)
    with Repository.open(tmp_path, registry=registry) as repo:
        name = Name.NEXT
        repo.commit(
            "run", {}, kind=name, node=name, next_nodes=[name], graph=name, labels={name: name}
        )
        found = repo.resolve("run")
    told = (found.kind, found.node, *found.next_nodes, found.graph, *found.labels.items())
    assert told == ("next", "next", "next", "next", ("next", "next"))
    assert {*map(type, told)} == {str, tuple}
