"""Where the time of a restore goes: each unavoidable step of it alone, beside the whole."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import cbor2

from benchmarks.results import Figure
from benchmarks.workloads import make_workload
from cas.closure import Closure, read_closure
from cas.digest import Digest
from cas.kept import KeptRecords
from cas.objects import leaf_addresses
from cas.packs import Pack
from cas.packwalk import packs_up
from cas.records import RecordReader
from manifests import Repository
from manifests.cbor import loads_all, tag_decoders
from manifests.together import SHALLOW

__all__ = ["measure_restore"]

T = TypeVar("T")

_END: Final = 1 << 47
"""Above every record number."""


def measure_restore(
    folder: Path, *, workload: str = "chat-1000", tiny: bool = False, rounds: int = 7
) -> list[Figure]:
    """Return how long restoring the latest state takes, and its steps, as shares of ``loads``.

    CPU time of this process, the least of some rounds. The store is as commits wrote it.
    """
    run = make_workload(workload, tiny=tiny)
    name, last = list(run.runs().items())[-1]
    with Repository.open(folder / "store") as repository:
        for step in run.steps():
            repository.commit(step.run, step.state)
    state = run.state_at(name, last)
    encoded = cbor2.dumps(state)
    loads = _least(rounds, lambda: cbor2.loads(encoded))

    def one_after_another() -> list[float]:
        with Repository.open(folder / "store") as repository:
            timed = [_timed(lambda: repository.restore((name, last))) for _ in range(3)]
            assert all(restored == state for _seconds, restored in timed)
            return [seconds for seconds, _restored in timed]

    first, second, third = map(min, zip(*(one_after_another() for _ in range(rounds)), strict=True))
    with Repository.open(folder / "store") as repository:
        head = repository.resolve(name).id
        parts = repository._store.read(lambda reader: _steps(reader, head, rounds))
    times = {
        "cold": ("a restore from a store just opened", first),
        "second": ("the next one, which decodes what was read and keeps it", second),
        "warm": ("the third, which copies what was kept", third),
        **parts,
    }
    return [
        Figure(f"restore-{key}", f"{text}, to cbor2.loads", seconds / loads, "x")
        for key, (text, seconds) in times.items()
    ]


def _steps(reader: RecordReader, head: Digest, rounds: int) -> dict[str, tuple[str, float]]:
    """Return the time of each step on its own, in the order in which they are taken."""
    rows = list(packs_up(reader.transaction, 0, _END))
    number = reader.find(head)
    assert number is not None
    below = read_closure(reader, KeptRecords(0), reader.read(number).links, _END)
    assert below is not None
    return {
        "fetch": (
            "reading and parsing all packs",
            _least(rounds, lambda: _parse(packs_up(reader.transaction, 0, _END))),
        ),
        "inflate": (
            "decompressing them",
            _least(rounds, lambda: _inflate(rows)) - _least(rounds, lambda: _parse(rows)),
        ),
        "hash": (
            "hashing the objects without links",
            _least(rounds, lambda: leaf_addresses(below.leaves.values())),
        ),
        "decode": ("decoding them", _least(rounds, lambda: _decoded(below))),
    }


def _decoded(below: Closure) -> list[Any]:
    return loads_all([*below.leaves.values()], tag_decoders({}), depth=SHALLOW)


def _parse(rows: Iterable[tuple[int, bytes]]) -> None:
    for row in rows:
        Pack(*row)


def _inflate(rows: list[tuple[int, bytes]]) -> None:
    for row in rows:
        Pack(*row).payload(0)


def _least(rounds: int, work: Callable[[], object]) -> float:
    return min(_timed(work)[0] for _ in range(rounds))


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    gc.collect()
    start = time.process_time()
    result = work()
    return time.process_time() - start, result
