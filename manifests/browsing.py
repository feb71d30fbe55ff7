"""``Browsing``: the part of a repository for looking around, a window at a time.

Whatever the size of a run or a state, only what is shown is read from the store.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Final

from cas.digest import Digest
from cas.errors import InvalidInputError, NotFoundError
from cas.readers import Reader
from cas.records import RecordReader
from cas.store import ObjectStore
from manifests import history
from manifests.arguments import check_count, listed
from manifests.catalogue import Catalogue
from manifests.diff import Difference, Kind, differences
from manifests.excerpt import Excerpt, excerpt, first_difference
from manifests.forms import Forms
from manifests.limits import check_limit
from manifests.manifest import RunInfo
from manifests.outline import Outline, outline
from manifests.paths import Step
from manifests.places import PathLike, Places
from manifests.reading import StoreReader, stable
from manifests.refs import RefLike
from manifests.registry import Registry
from manifests.rows import CheckpointRow, RunRow
from manifests.runs import UnreadableRun, readable_runs
from manifests.search import Match, OnSearched, search
from manifests.searched import searched_refs, searched_runs

__all__ = ["Branch", "Browsing", "Compared", "Footprint"]

_ROWS: Final = 2_000
"""Rows of the catalogue read in one transaction."""


def _ignore(_count: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Footprint:
    """A checkpoint as its run lists it, without what its manifest says.

    ``parent`` is the parent's sequence in the same run, 0 if it is elsewhere or there is none.
    """

    sequence: int
    parent: int
    new_objects: int
    new_bytes: int


@dataclass(frozen=True, slots=True)
class Branch:
    """A run that was started at the checkpoint ``sequence`` of another one."""

    run: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A difference in a few words. What is not there is None.

    ``excerpts`` are, of a changed text, both texts from about where they begin to differ.
    """

    kind: Kind
    steps: tuple[Step, ...]
    before: Outline | None
    after: Outline | None
    excerpts: tuple[Excerpt, Excerpt] | None


class Browsing:
    """What ``Repository`` does for people who look at one thing after the other."""

    registry: Registry
    _store: ObjectStore

    def readable_runs(self) -> tuple[list[RunInfo], list[UnreadableRun]]:
        """Return what ``runs`` does, and by name those runs whose heads cannot be read."""
        return stable(self._store, readable_runs)

    def footprints(self, run: str) -> list[Footprint]:
        """Return what each checkpoint that a run lists added, newest first.

        This reads no manifest: of 10,000 checkpoints it takes some hundredths of a second.
        """
        return stable(
            self._store,
            lambda reader: [_print(*row) for row in _rows(reader, run) if not row[1].hidden],
        )

    def readers(self) -> list[Reader]:
        """Return the read transactions of other processes, and how far behind each is."""
        return self._store.environment.readers()

    def objects(self) -> int:
        """Return how many different objects the store holds, garbage included. Costs nothing."""
        return self._store.counters().objects

    def disk_bytes(self) -> int:
        """Return the bytes allocated on disk for the store."""
        return self._store.environment.disk_bytes()

    def tagged(self) -> dict[Digest, list[str]]:
        """Return the tags of each tagged checkpoint, in the order of their names.

        As ``tags``, but no manifest is read, so thousands of tags cost nothing much.
        """

        def read(records: RecordReader) -> dict[Digest, list[str]]:
            names: dict[Digest, list[str]] = {}
            for tag in Catalogue(records.transaction).tags():
                names.setdefault(tag.id, []).append(tag.name)
            return names

        return stable(self._store, lambda reader: reader.run(read))

    def branches(self, run: str) -> list[Branch]:
        """Return the runs that were started at checkpoints which this run lists, by name."""
        return stable(self._store, lambda reader: _branches(reader, run))

    def excerpt(
        self,
        ref: RefLike,
        path: PathLike,
        *,
        start: int = 0,
        most: int = 16_384,
        execution: bool = False,
    ) -> Excerpt:
        """Return some bytes of a text or byte string in a state; only those are read.

        Args:
            ref: The checkpoint.
            path: Leads to the text, or the bytes or bytearray.
            start: The position of the first byte; of a text, of its UTF-8 form.
            most: How many bytes, at most.
            execution: The path leads into the execution record, not into the state.

        Raises:
            NotFoundError: There is no such checkpoint, or no text at that place of its state.
        """

        def read(reader: StoreReader) -> Excerpt:
            forms = Forms(self.registry, reader.load)
            manifest = history.find(reader, ref).manifest
            root = manifest.execution if execution else manifest.state
            places = Places(forms)
            form = places.find(root, places.steps(root, path))
            found = excerpt(forms, form, start, most)
            if found is None:
                raise NotFoundError("what stands there is no text and no byte string")
            return found

        return stable(self._store, read)

    def execution_outline(
        self, ref: RefLike, path: PathLike = (), *, start: int = 0, stop: int = 100
    ) -> Outline:
        """Return of a checkpoint's execution record what ``outline`` does of its state."""

        def read(reader: StoreReader) -> Outline:
            root = history.find(reader, ref).manifest.execution
            forms = Forms(self.registry, reader.load)
            return outline(forms, root, Places(forms).steps(root, path), start, stop)

        return stable(self._store, read)

    def search(
        self,
        pattern: str | re.Pattern[str],
        *,
        refs: Sequence[RefLike] = (),
        runs: Sequence[str] = (),
        limit: int | None = None,
        pending: bool = False,
        searched: OnSearched = _ignore,
    ) -> list[Match]:
        """Return the lines of texts in states that match a regular expression.

        Each different object is read and searched once, however many states hold it. The same line
        at the same place of a run counts once, for the oldest checkpoint that has it.

        Args:
            pattern: The expression, as of the module ``re``.
            refs: Checkpoints to search.
            runs: Runs of which all checkpoints are searched, oldest first.
            limit: How many matches, at most.
            pending: Search also what is pending beside these checkpoints. A write whose name is in
                the state of a later one, made from it and searched as well, is left out.
            searched: Is told how many checkpoints were searched so far.

        Raises:
            InvalidInputError: The pattern is none.
            NotFoundError: A reference or a run names nothing.
        """
        check_limit(limit)
        try:
            wanted = re.compile(pattern)
        except (re.error, TypeError) as error:
            raise InvalidInputError(f"{pattern!r} is no regular expression: {error}") from error
        if not isinstance(wanted.pattern, str):
            raise InvalidInputError(
                f"texts are searched, and {pattern!r} is an expression of bytes"
            )
        chosen = (
            listed(refs, "refs is a list of references"),
            listed(runs, "runs is a list of names"),
        )
        return stable(
            self._store,
            lambda reader: search(
                reader,
                self.registry,
                chain(searched_refs(reader, chosen[0]), searched_runs(reader, chosen[1])),
                wanted,
                limit,
                searched,
                pending=pending,
            ),
        )

    def compare(
        self, before: RefLike, after: RefLike, *, start: int = 0, limit: int = 50
    ) -> list[Compared]:
        """Return differences number ``start`` and on between two states, at most ``limit``.

        As ``diff``, but what differs is told in a few words, so that it may be of any size.
        """
        check_count(start, "start")
        check_limit(limit)

        def read(reader: StoreReader) -> list[Compared]:
            old = history.find(reader, before).manifest.state
            new = history.find(reader, after).manifest.state
            forms = Forms(self.registry, reader.load)
            found = islice(differences(forms, old, new), start, start + limit)
            return [_compared(forms, each) for each in found]

        return stable(self._store, read)


def _compared(forms: Forms, found: Difference) -> Compared:
    before, after = found.before, found.after
    old = None if found.kind == "added" else outline(forms, before, (), 0, 0)
    new = None if found.kind == "removed" else outline(forms, after, (), 0, 0)
    texts = None
    if old is not None and new is not None and old.type == new.type == "str":
        at = first_difference(forms, before, after)
        parts = excerpt(forms, before, at), excerpt(forms, after, at)
        if parts[0] is not None and parts[1] is not None:
            texts = parts[0], parts[1]
    return Compared(found.kind, found.steps, old, new, texts)


# Rows


def _print(sequence: int, row: CheckpointRow) -> Footprint:
    return Footprint(sequence, row.parent, row.new_objects, row.new_bytes)


def _rows(reader: StoreReader, run: str) -> list[tuple[int, CheckpointRow]]:
    """Return all rows of a run, newest first, a bounded number in each transaction."""
    rows: list[tuple[int, CheckpointRow]] = []
    while True:
        below = rows[-1][0] if rows else None
        found = reader.run(partial(_some_rows, name=run, below=below))
        rows += found
        if len(found) < _ROWS:
            return rows


def _some_rows(
    reader: RecordReader, name: str, below: int | None
) -> list[tuple[int, CheckpointRow]]:
    catalogue = Catalogue(reader.transaction)
    number = catalogue.need_run(name).number
    return list(islice(catalogue.newest(number, below=below), _ROWS))


def _branches(reader: StoreReader, run: str) -> list[Branch]:
    younger = reader.run(partial(_younger, name=run))
    ids = {row.id: sequence for sequence, row in _rows(reader, run)} if younger else {}
    found: list[Branch] = []
    for at in range(0, len(younger), _ROWS):
        found += reader.run(partial(_branches_among, runs=younger[at : at + _ROWS], ids=ids))
    return found


def _younger(reader: RecordReader, name: str) -> list[RunRow]:
    """Return the runs that began after this one: a fork has what it was made from as well."""
    catalogue = Catalogue(reader.transaction)
    number = catalogue.need_run(name).number
    return [row for row in catalogue.runs() if row.number > number]


def _branches_among(
    reader: RecordReader, runs: Sequence[RunRow], ids: dict[Digest, int]
) -> list[Branch]:
    """Return those of some runs that were started at a checkpoint of another, whose are ``ids``.

    A fork begins with the checkpoint it was made at, behind those which that one needs.
    """
    catalogue = Catalogue(reader.transaction)
    found = []
    for run in runs:
        first = catalogue.first(run.number)
        if first is None or first.id not in ids:
            continue
        last = first.id
        for _sequence, row in catalogue.oldest(run.number):
            if row.id not in ids:
                break
            last = row.id
        found.append(Branch(run.name, ids[last]))
    return found
