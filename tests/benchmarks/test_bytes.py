"""How many bytes records take, against zstd of everything new: a guard for the limits in small."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from benchmarks.workloads import Workload
from benchmarks.workloads.chat import Chat
from benchmarks.workloads.deep_agent import DeepAgent
from benchmarks.workloads.wide import Wide
from cas import order
from manifests import Repository


def shares(workload: Workload, home: Path) -> tuple[float, float]:
    """Return the bytes of all records before and after compaction, to the least possible."""
    novel = bytearray()
    with Repository.open(home) as repository:
        for step in workload.steps():
            repository.commit(step.run, step.state, changed=step.changed)
            novel += step.turn.novel
        before = repository.stats().stored_bytes
        repository.compact()
        after = repository.stats().stored_bytes
    least = len(zstandard.ZstdCompressor(level=3).compress(bytes(novel)))
    print(f"{workload.title}: {before / least:.3f} before, {after / least:.3f} after compaction")
    return before / least, after / least


@pytest.mark.parametrize(
    ("workload", "most_before", "most_after"),
    [
        (Chat(80), 1.56, 1.25),
        (DeepAgent(30, files=10), 1.68, 1.27),
        (Wide(2_000, steps=40), 4.5, 2.15),
    ],
    ids=lambda value: value.name if isinstance(value, Workload) else None,
)
def test_records_take_little_more_than_their_new_bytes(
    workload: Workload, most_before: float, most_after: float, home: Path
) -> None:
    before, after = shares(workload, home)
    assert before < most_before
    assert after < most_after


def test_that_would_be_noticed_if_versions_stood_apart(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "older_versions", lambda links, _older: [0] * len(links))
    assert shares(DeepAgent(30, files=10), home / "deep")[1] > 1.27
    assert shares(Wide(2_000, steps=40), home / "wide")[1] > 2.15
