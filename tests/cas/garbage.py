"""A small upper layer for tests of collection: names that lead to objects, and what must hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from cas.compact import Compaction, Compactor
from cas.counters import Counters
from cas.digest import Digest
from cas.environment import Table
from cas.errors import CorruptionError
from cas.objects import Object
from cas.packs import Pack
from cas.packwalk import packs_up
from cas.records import INDEX, INDEX_BEHIND, STORE, RecordReader, index_key, row_numbers
from cas.roots import Layout, RootTable
from cas.store import ObjectStore
from cas.sweep import Collector, Sweep
from cas.upkeep import OnProgress
from cas.writer import RecordWriter

__all__ = ["LAYOUT", "NAMES", "Names", "check_store", "leaf", "node"]

NAMES = Table("names")
_END = 1 << 47


def _numbers(_key: bytes, row: bytes) -> Iterable[int]:
    return (int.from_bytes(row, "big"),)


LAYOUT = Layout(
    roots=(
        RootTable(
            "names",
            NAMES,
            _numbers,
            lambda _key, row, new: new(int.from_bytes(row, "big")).to_bytes(6, "big"),
            group=lambda key: key[:1],
        ),
    )
)


def leaf(text: str) -> Object:
    """An object without links."""
    return Object((), text.encode() * 3)


def node(text: str, *children: Object) -> Object:
    """An object that links to others."""
    return Object(tuple(child.address() for child in children), text.encode())


class Names:
    """Names that lead to objects, in a store. Several may be open on one store, as processes are:
    each has its own idea of what is stored.
    """

    def __init__(self, place: Path) -> None:
        self.store = ObjectStore.open(place, tables=(NAMES,))

    def close(self) -> None:
        self.store.close()

    def save(self, name: str, *objects: Object, stream: str | None = None) -> None:
        """Store objects, children first, and let the name lead to the last one.

        With a ``stream``, their pack may be merged with others of that stream later.
        """

        def work(writer: RecordWriter) -> None:
            number = 0
            for item in objects:
                number = writer.put(item.address(), item)
            writer.flush(stream)
            self._name(writer, name, number)

        self.store.write(work)

    def name(self, name: str, digest: Digest) -> bool:
        """Let the name lead to what is stored already, as a fork does; whether it still is."""

        def work(writer: RecordWriter) -> bool:
            number = writer.find(digest)
            if number is not None:
                self._name(writer, name, number)
            return number is not None

        return self.store.write(work)

    def _name(self, writer: RecordWriter, name: str, number: int) -> None:
        key = name.encode()
        before = writer.writing.get(NAMES, key)
        if before is not None:
            writer.unroot(int.from_bytes(before, "big"))
        writer.writing.put(NAMES, key, number.to_bytes(6, "big"))
        writer.root(number)

    def drop(self, *names: str) -> None:
        """Remove names."""

        def work(writer: RecordWriter) -> None:
            for name in names:
                row = writer.writing.get(NAMES, name.encode())
                assert row is not None
                writer.writing.delete(NAMES, name.encode())
                writer.unroot(int.from_bytes(row, "big"))

        self.store.write(work)

    def gc(
        self,
        *,
        batch_seconds: float = 0.005,
        dry_run: bool = False,
        whole: bool = False,
        time_budget: float | None = None,
        progress: OnProgress | None = None,
    ) -> Sweep:
        """Collect. With ``batch_seconds=0`` each transaction sweeps one pack."""
        collector = Collector(self.store.environment, LAYOUT, batch_seconds=batch_seconds)
        return collector.collect(
            dry_run=dry_run, whole=whole, time_budget=time_budget, progress=progress
        )

    def compact(self, *, progress: OnProgress | None = None) -> Compaction:
        """Compact."""
        return Compactor(self.store.environment, LAYOUT).compact(progress=progress)

    def digests(self) -> set[Digest]:
        """All objects in the store."""
        return self.store.read(lambda reader: {Digest(d) for _n, d in _records(reader)})

    def reachable(self) -> set[Digest]:
        """The objects that names lead to, each verified."""
        return self.store.read(lambda reader: {Digest(r) for r in _reached(reader).values()})


def _records(reader: RecordReader) -> Iterator[tuple[int, bytes]]:
    for base, data in packs_up(reader.transaction, 0, _END):
        pack = Pack(base, data)
        for place, number in enumerate(pack.numbers):
            yield number, pack.digest(place)


def _reached(reader: RecordReader) -> dict[int, bytes]:
    """Number and digest of everything that names lead to. Fails if any of it is missing or bad."""
    stack = [int.from_bytes(row, "big") for _key, row in reader.transaction.items(NAMES)]
    return _closure(reader, stack)


def _closure(reader: RecordReader, stack: list[int]) -> dict[int, bytes]:
    seen: dict[int, bytes] = {}
    while stack:
        number = stack.pop()
        if number not in seen:
            record = reader.read(number)
            seen[number] = record.digest
            stack.extend(record.links)
    return seen


def check_store(names: Names, *, collected: bool = False) -> None:
    """Assert what must hold at every boundary between transactions.

    With `collected`: and nothing is stored that no name leads to.
    """

    def work(reader: RecordReader) -> None:
        try:
            reached = _reached(reader)
            present = dict(_records(reader))
            found: list[int] = []
            swept = 0
            for key, row in reader.transaction.items(INDEX):
                for number in row_numbers(row):
                    if number in present:
                        assert index_key(present[number]) == key
                        found.append(number)
                    else:
                        swept += 1
            # A writer may link to whatever the index leads to.
            _closure(reader, list(found))
        except CorruptionError as error:
            raise AssertionError(f"not whole: {error}") from error
        assert sorted(found) == sorted(present), "the index does not name each record once"
        assert len({*present.values()}) == len(present), "an object is stored twice"
        behind = reader.transaction.get(STORE, INDEX_BEHIND) is not None
        assert behind or not swept, "what was swept passes for lost"
        counters = Counters.load(reader.transaction)
        assert counters.objects == len(present)
        payload = stored = 0
        for base, data in packs_up(reader.transaction, 0, _END):
            pack = Pack(base, data)
            payload += sum(pack.size(place) for place in range(len(pack.numbers)))
            stored += len(data)
        assert (counters.payload_bytes, counters.stored_bytes) == (payload, stored)
        assert all(number < counters.next_record for number in present)
        if collected:
            assert reached.keys() == present.keys(), "garbage is left"
            assert not swept, "the index names what is gone"
            assert not behind, "what is lost later would pass for swept"

    names.store.read(work)
