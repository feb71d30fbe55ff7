"""The comparison of savers, small: bytes do not depend on the machine."""

from __future__ import annotations

from pathlib import Path

from benchmarks.langgraph_saver import KINDS, measure


def test_a_small_chat_takes_a_fraction_of_the_bytes(tmp_path: Path) -> None:
    found = {}
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        found[kind] = measure(kind, 12, tmp_path / kind)
    # An empty store takes some pages, so a chat this short says nothing about the delta log.
    assert found["hive"].disk_bytes * 3 < found["sqlite"].disk_bytes
    assert all(min(row.put + row.writes + row.read + row.turn) >= 0 for row in found.values())
