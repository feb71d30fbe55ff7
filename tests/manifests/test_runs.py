"""The list of runs: as many transactions as there are hundreds of them, and each as it is now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cas.store import ObjectStore
from manifests import Repository
from manifests.reading import StoreReader


def test_the_heads_of_many_runs_are_read_together(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Repository.open(home) as repo:
        heads = {}
        for number in range(600):
            name = f"run {number * 7 % 600:03}"
            heads[name] = repo.commit(name, {"n": number}, kind="final" if number % 3 else "k").id
        transactions = 0
        read = ObjectStore.read

        def counting(store: ObjectStore, *args: Any, **options: Any) -> Any:
            nonlocal transactions
            transactions += 1
            return read(store, *args, **options)

        monkeypatch.setattr(ObjectStore, "read", counting)
        infos = repo.runs()
    print(f"{transactions} transactions for {len(infos)} runs")
    assert transactions <= 6
    assert [info.name for info in infos] == sorted(heads)
    assert {info.name: info.head.id for info in infos} == heads


def test_runs_that_change_while_they_are_listed_are_shown_as_they_are(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list and the heads of a batch, and between those and what they lead to."""
    with Repository.open(home) as repo:
        for name in ("deleted", "gone on", "swept", "untouched"):
            for number in range(3):
                # So long that it is an object of its own, which is read after the manifest.
                node = f"{name} {number} " * 70
                repo.commit(name, {"n": number}, node=node, labels={"n": node[:400]})
        expected = {"gone on": 4, "untouched": 3}
        run = StoreReader.run
        changes: list[Callable[[], object]] = [
            lambda: (repo.delete_run("deleted"), repo.commit("gone on", {"n": 3})),
            lambda: (repo.delete_run("swept"), repo.gc()),
        ]

        def meanwhile(reader: StoreReader, work: Callable[..., Any]) -> Any:
            result = run(reader, work)
            if changes:
                monkeypatch.setattr(StoreReader, "run", run)
                changes.pop(0)()
                monkeypatch.setattr(StoreReader, "run", meanwhile)
            return result

        monkeypatch.setattr(StoreReader, "run", meanwhile)
        infos = repo.runs()
        assert not changes
    assert {info.name: info.head.sequence for info in infos} == expected
