"""What keeps a checkpoint from being forgotten, as of the transaction that would forget it.

A plan is older than the transactions that execute it: somebody may have tagged what it drops, or
saved a checkpoint that needs it. So names and needs are looked at again, outside the transaction
where that takes long; what the root epoch proves to be unchanged since is believed in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from cas.counters import Counters
from cas.digest import Digest
from cas.environment import ReadTransaction
from manifests.catalogue import Catalogue
from manifests.pending import is_unresolved
from manifests.retention import NEEDED, Reason
from manifests.rows import CheckpointRow, RunRow

__all__ = ["Guard", "Look"]


@dataclass(frozen=True, slots=True)
class _RunLook:
    """A run, and which of its checkpoints cannot be used without which: parents by sequence."""

    run: RunRow
    needs: Mapping[int, int]
    has_keys: bool

    @classmethod
    def at(cls, catalogue: Catalogue, run: RunRow) -> Self:
        head = catalogue.head(run)
        needs = {
            sequence: row.parent
            for sequence, row in catalogue.newest(run.number)
            if _is_needing(sequence, row)
        }
        return cls(run, needs, head is not None and head.key is not None)

    def advanced(self, catalogue: Catalogue, run: RunRow) -> Self | None:
        """Return the look at the run as it is now; None if that takes a look at all of it.

        It is quick for a run that was only added to, in which nothing was needed.
        """
        if run.number != self.run.number or self.needs or self.has_keys:
            return None
        needs, added = {}, 0
        for sequence, row in catalogue.newest(run.number):
            if sequence <= self.run.last:
                break
            added += not row.hidden
            if _is_needing(sequence, row):
                needs[sequence] = row.parent
        if run.kept != self.run.kept + added:
            return None
        return replace(self, run=run, needs=needs)


def _is_needing(sequence: int, row: CheckpointRow) -> bool:
    """Whether it cannot be used without its parent, which a sound one has below it."""
    return row.needs_parent and 0 < row.parent < sequence


@dataclass(frozen=True, slots=True)
class Look:
    """The names of a store, and the needs of some runs, as of one root epoch."""

    epoch: int
    tags: Mapping[Digest, str]
    pins: frozenset[Digest]
    runs: Mapping[str, _RunLook | None]

    @classmethod
    def at(cls, transaction: ReadTransaction, names: Iterable[str]) -> Self:
        """Look at all names, and at the runs of these; None stands for one that is not there."""
        catalogue = Catalogue(transaction)
        runs: dict[str, _RunLook | None] = {}
        for name in names:
            run = catalogue.run(name)
            runs[name] = None if run is None else _RunLook.at(catalogue, run)
        return cls._with(transaction, runs)

    def advanced(self, transaction: ReadTransaction) -> Self | None:
        """Return the look as of a later transaction; None if looking takes long."""
        if Counters.load(transaction).root_epoch == self.epoch:
            return self
        catalogue = Catalogue(transaction)
        runs: dict[str, _RunLook | None] = {}
        for name, before in self.runs.items():
            run = catalogue.run(name)
            if run is None:
                runs[name] = None
                continue
            now = None if before is None else before.advanced(catalogue, run)
            if now is None:
                return None
            runs[name] = now
        return self._with(transaction, runs)

    @classmethod
    def _with(cls, transaction: ReadTransaction, runs: Mapping[str, _RunLook | None]) -> Self:
        catalogue = Catalogue(transaction)
        return cls(
            Counters.load(transaction).root_epoch,
            {tag.id: tag.name for tag in catalogue.tags()},
            frozenset(pin.id for pin in catalogue.pins()),
            runs,
        )


class Guard:
    """Judges checkpoints in one transaction, each before those that it needs."""

    def __init__(self, transaction: ReadTransaction, look: Look) -> None:
        """Judge by a look that is as of this transaction."""
        self._catalogue = Catalogue(transaction)
        self._look = look
        self._needed_by: dict[tuple[str, int], set[int]] = {}
        for name, seen in look.runs.items():
            for sequence, parent in ({} if seen is None else seen.needs).items():
                self._needed_by.setdefault((name, parent), set()).add(sequence)

    def find(self, run: str, sequence: int, digest: Digest) -> tuple[RunRow, CheckpointRow] | None:
        """Return run and row of a checkpoint; None if it is not there any more."""
        seen = self._look.runs[run]
        row = None if seen is None else self._catalogue.checkpoint(seen.run.number, sequence)
        return None if seen is None or row is None or row.id != digest else (seen.run, row)

    def why_listed(self, run: RunRow, sequence: int, row: CheckpointRow) -> Reason | None:
        """Return what keeps a checkpoint on its run's list."""
        if run.head == sequence:
            return Reason("head", "head of its run")
        if is_unresolved(self._catalogue.transaction, run, sequence, row):
            return Reason("pending", "has pending writes")
        if row.hidden:
            return None  # a tag or a pin leads to the checkpoint without its row
        if row.id in self._look.tags:
            return Reason("tag", f"has the tag {self._look.tags[row.id]!r}")
        if row.id in self._look.pins:
            return Reason("pin", "pinned")
        return None

    def why_kept(self, run: RunRow, sequence: int, row: CheckpointRow) -> Reason | None:
        """Return what keeps a checkpoint that is to be forgotten."""
        reason = self.why_listed(run, sequence, row)
        if reason is not None:
            return reason
        end = sequence
        while above := self._needed_by.get((run.name, end)):
            end = max(above)
        return None if end == sequence else Reason(NEEDED, f"needed by {run.name}@{end}")

    def forget(self, run: RunRow, sequence: int, row: CheckpointRow) -> None:
        """Take note that a checkpoint is forgotten: it needs nothing any more."""
        if _is_needing(sequence, row):
            self._needed_by[run.name, row.parent].discard(sequence)

    def after(self, epoch: int, runs: Iterable[RunRow]) -> Look:
        """Return the look as of the end of the transaction, with the runs as they were written."""
        left: dict[str, dict[int, int]] = {}
        for (name, parent), sequences in self._needed_by.items():
            left.setdefault(name, {}).update(dict.fromkeys(sequences, parent))
        looks = dict(self._look.runs)
        for run in runs:
            seen = looks[run.name]
            if seen is not None:
                looks[run.name] = replace(seen, run=run, needs=left.get(run.name, {}))
        return replace(self._look, epoch=epoch, runs=looks)
