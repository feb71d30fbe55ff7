"""Pages of long runs and large states read what they show (``-s`` prints objects and seconds)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cas.digest import Digest
from cas.records import RecordReader
from manifests import Repository
from manifests.reading import StoreReader
from tests.hive.ui.sites import Pages, pages_of


class Reads:
    """Counts the objects that are read from a store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        load = StoreReader.load

        def counting(reader: StoreReader, numbers: Sequence[int]) -> Any:
            self.count += len(numbers)
            return load(reader, numbers)

        read_as = RecordReader.read_as

        def counting_one(reader: RecordReader, number: int, digest: Digest) -> Any:
            self.count += 1
            return read_as(reader, number, digest)

        monkeypatch.setattr(StoreReader, "load", counting)
        monkeypatch.setattr(RecordReader, "read_as", counting_one)

    def of(self, pages: Pages, address: str) -> int:
        """Return how many objects a page reads."""
        self.count, began = 0, time.process_time()
        assert pages.client.get(address).status_code == 200
        print(f"{address:60} {self.count:5} objects {time.process_time() - began:6.3f} s")
        return self.count


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    with Repository.open(home) as opened:
        yield opened


@pytest.mark.torture
def test_pages_of_a_long_run(
    repo: Repository, reads: Reads, rounds: Callable[[int, int], int]
) -> None:
    steps = rounds(600, 10_000)
    messages: list[dict[str, Any]] = []
    waiting = []
    for number in range(steps):
        messages.append({"role": "user", "content": f"message {number} " + "x" * (number % 200)})
        prepared = repo.prepare("run", {"messages": messages}, node="n", trust_identity=True)
        waiting.append(repo.submit(prepared))
    for each in waiting:
        each.result()
    pages = pages_of(repo)
    # A manifest for each of 120 bars and 50 rows, and few more: not one for each step.
    for below in (steps + 1, steps // 2, 51):
        assert reads.of(pages, f"/run?name=run&below={below}") < 250
    assert reads.of(pages, "/") < 10
    assert reads.of(pages, f"/step?run=run&at={steps // 2}") < 150
    assert reads.of(pages, f"/step?run=run&at={steps}&path=messages&start={steps - 50}") < 150
    assert reads.of(pages, f"/diff?run=run&at={steps}&from={steps - 1}") < 100


@pytest.mark.torture
def test_pages_of_a_large_state(
    repo: Repository, reads: Reads, rounds: Callable[[int, int], int], seed: int
) -> None:
    dice = random.Random(seed)
    size = rounds(4_000_000, 50_000_000)
    state: dict[str, Any] = {
        "rows": [{"n": n, "text": dice.randbytes(60).hex()} for n in range(size // 500)],
        "index": {f"key {n}": n for n in range(size // 500)},
        "text": dice.randbytes(size // 5).hex(),
        "blob": dice.randbytes(size // 5),
    }
    repo.commit("run", state)
    state["rows"][size // 1_000]["text"] = "changed"
    state["text"] = state["text"][: size // 5] + "!" + state["text"][size // 5 :]
    repo.commit("run", state)
    pages = pages_of(repo)
    last = size // 500 - 40
    for address, most in (
        ("/step?run=run&at=2", 60),
        ("/parts?run=run&at=2&path=rows", 400),
        (f"/parts?run=run&at=2&path=rows&start={last}", 400),
        (f"/parts?run=run&at=2&path=index&start={last}", 500),
        (f"/text?run=run&at=2&path=text&start={size // 4}", 40),
        (f"/text?run=run&at=2&path=blob&start={size // 6}", 40),
    ):
        assert reads.of(pages, address) < most
    # What differs costs the inner nodes of both trees, and not the leaves they share.
    assert reads.of(pages, "/diff?run=run&at=2&from=1") < 200 + size // 20_000


def test_a_run_whose_order_is_its_framework_s(repo: Repository) -> None:
    for key, number in (("b", 2), ("a", 1), ("c", 3)):
        repo.commit("run", {"n": number}, key=key, parent=None if number == 2 else "run")
    pages = pages_of(repo)
    page = pages.get("/run", name="run")
    assert page.count('name="at"') == 3 + 1
    for at in (1, 2, 3):
        pages.get("/step", run="run", at=at)
    assert "step" in pages.get("/changed", name="run")
