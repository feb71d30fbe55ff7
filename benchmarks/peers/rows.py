"""One row per checkpoint in SQLite, holding the whole state."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar

import cbor2

from benchmarks.peers.base import CheckpointName, Peer
from benchmarks.peers.plain import from_plain, to_plain
from benchmarks.workloads import Step

__all__ = ["SqliteRows"]


class SqliteRows(Peer):
    """A table of CBOR, in a database whose every commit is synced."""

    name = "sqlite-rows"
    copies: ClassVar[bool] = True

    def open(self) -> None:
        """Open or create the database."""
        self._connection = sqlite3.connect(self.folder / "states.sqlite")
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS states"
            " (run TEXT, step INTEGER, state BLOB, PRIMARY KEY (run, step))"
        )

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def save(self, step: Step) -> None:
        """Insert and commit a row."""
        with self._connection:
            self._connection.execute(
                "INSERT INTO states VALUES (?, ?, ?)",
                (step.run, step.index, cbor2.dumps(to_plain(step.state))),
            )

    def load(self, name: CheckpointName) -> Any:
        """Read a row."""
        row = self._connection.execute(
            "SELECT state FROM states WHERE run = ? AND step = ?", name
        ).fetchone()
        return from_plain(cbor2.loads(row[0]), self.workload.kinds)

    def forget(self, names: Sequence[CheckpointName]) -> bool:
        """Delete the rows and make the file small."""
        with self._connection:
            self._connection.executemany("DELETE FROM states WHERE run = ? AND step = ?", names)
        self._connection.execute("VACUUM")
        return True
