"""The recorded runs: a checkpoint after every message, every checkpoint restored and compared."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from manifests import Repository
from tests.damage import data_file

MOST_BYTES = 6_000_000


@pytest.fixture(scope="module")
def runs(data_dir: Path) -> list[dict[str, Any]]:
    with gzip.open(data_dir / "airline_runs.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_every_checkpoint_of_the_recorded_runs_restores(
    home: Path, runs: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with Repository.open(home) as repo:
        for recorded in runs:
            state: dict[str, Any] = {"messages": [], "reward": None}
            for message in recorded["messages"]:
                state["messages"].append(message)
                repo.commit(recorded["run"], state, node=message["role"])
            state["reward"] = recorded["reward"]
        stats = repo.stats()
        disk = repo.stats().disk_bytes
    written = sum(len(recorded["messages"]) for recorded in runs)
    assert (len(runs), written, stats.checkpoints) == (200, 5_308, 5_308)

    with Repository.open(home, read_only=True) as repo:
        assert [info.checkpoints for info in repo.runs()] == [
            len(recorded["messages"]) for recorded in sorted(runs, key=lambda r: r["run"].encode())
        ]
        for recorded in runs:
            messages = recorded["messages"]
            for sequence in range(1, len(messages) + 1):
                restored = repo.restore((recorded["run"], sequence))
                assert restored == {"messages": messages[:sequence], "reward": None}
    size = data_file(home / "objects").stat().st_size
    with capsys.disabled():
        print(
            f"\nrecorded runs: {stats.checkpoints} checkpoints, {stats.logical_bytes:,} logical, "
            f"{stats.unique_bytes:,} unique, {stats.stored_bytes:,} stored bytes; "
            f"{disk:,} on disk (the data file {size:,})"
        )
    assert disk <= MOST_BYTES
    assert size <= MOST_BYTES
