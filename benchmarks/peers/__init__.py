"""The stores under measurement. Those whose packages are not installed are left out, by name."""

from __future__ import annotations

from typing import Final

from benchmarks.peers.base import CheckpointName, Peer
from benchmarks.peers.files import CborFiles, PickleFiles
from benchmarks.peers.hive_store import Hive, HiveAsync, HiveChanged, HiveTrusted
from benchmarks.peers.rows import SqliteRows

__all__ = ["LABELS", "NAMES", "CheckpointName", "Peer", "find_peer"]

LABELS: Final = {
    "hive": "Hive",
    "hive-changed": "Hive, changed=",
    "hive-trusted": "Hive, changed=, trust_identity",
    "hive-async": "Hive, durability async",
    "langgraph-delta": "LangGraph DeltaChannel",
    "langgraph-graph": "the same, compiled graph (whole turns)",
    "git": "git, then gc (not synced)",
    "langgraph": "LangGraph SqliteSaver",
    "sqlite-rows": "SQLite rows of full state",
    "pickle-files": "pickle files, fsync",
    "cbor-files": "CBOR files, fsync",
}
"""What the stores are called in tables, in their order there."""

NAMES: Final = tuple(LABELS)


def find_peer(name: str) -> type[Peer]:
    """Return the store of that name.

    Raises ``ModuleNotFoundError`` if it needs a package that is not installed, ``LookupError`` if
    there is none of that name.
    """
    always = (Hive, HiveChanged, HiveTrusted, HiveAsync, SqliteRows, PickleFiles, CborFiles)
    for peer in always:
        if peer.name == name:
            return peer
    match name:
        case "langgraph":
            from benchmarks.peers.langgraph_loop import FullLoop

            return FullLoop
        case "langgraph-delta":
            from benchmarks.peers.langgraph_loop import DeltaLoop

            return DeltaLoop
        case "langgraph-graph":
            from benchmarks.peers.langgraph_graph import DeltaGraph

            return DeltaGraph
        case "git":
            from benchmarks.peers.git import Git

            return Git
        case _:
            raise LookupError(f"no store {name!r}: there are {', '.join(NAMES)}")
