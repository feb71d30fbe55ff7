"""What a store logs, as ``hive.store``: what becomes of its file, nothing of what it holds."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cas.environment import Environment, Table, WriteTransaction

TABLE = Table("rows")


def test_a_map_that_grows_is_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="hive.store")

    def fill(transaction: WriteTransaction) -> None:
        for number in range(40):
            transaction.put(TABLE, number.to_bytes(4, "big"), b"x" * 100_000)

    with Environment.open(home / "objects", [TABLE], map_size=1 << 20) as environment:
        environment.write(fill)
    told = {record.getMessage() for record in caplog.records if record.name == "hive.store"}
    assert told == {"the map of the file grew"}
