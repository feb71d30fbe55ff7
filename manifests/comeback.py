"""Which rows may come back that a salvage found in free pages only.

Such a row was in its table once. Whether it still was when the store was damaged, or had been
deleted or replaced before, the row itself does not say; often the rest of the catalogue does. What
was surely deleted stays away, what surely was there comes back, and in between less loss is better:
it comes back, and is named in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from cas.counters import Counters
from cas.records import REPAIRS, STORE
from cas.salvage import Salvage
from cas.sieve import UNKNOWN, Version
from cas.store import HEADER_KEY
from cas.table import Table
from manifests.check import parsed
from manifests.effects import EFFECTS, effect_row
from manifests.names import name_key
from manifests.pending_rows import PENDING, pending_place, pending_row
from manifests.rows import (
    CHECKPOINTS,
    KEYS,
    PINS,
    RUNS,
    TAGS,
    CheckpointRow,
    PinRow,
    RunRow,
    TagRow,
    checkpoint_key,
    checkpoint_place,
    checkpoint_row,
    checkpoint_value,
    key_place,
    pin_row,
    run_of,
    run_row,
    run_value,
    tag_row,
)

__all__ = ["Comeback"]

T = TypeVar("T")


class Comeback:
    """Decides about the rows of one salvage.

    Afterwards ``uncertain`` names what came back and may have been deleted; ``missing`` says in
    words what was there and cannot be found.
    """

    def __init__(self, job: Salvage) -> None:
        self.uncertain: list[str] = []
        self.missing: list[str] = []
        self._job = job
        self._runs: dict[int, RunRow] = {}
        self._current: set[int] = set()
        """The numbers of the runs whose rows are those of the last commit."""
        self._listed: Counter[int] = Counter()
        self._damaged: Counter[int] = Counter()
        """How many rows of each run are there and damaged; perhaps they prove themselves."""
        self._highest: dict[int, int] = {}

    def decide(self) -> None:
        """Let rows come back, table by table."""
        self._learn()
        self._settings()
        self._run_rows()
        self._checkpoints()
        self._simple(TAGS, lambda _key, row: f"tag:{tag_row(row).name}", replaced=True)
        self._simple(PINS, _pin_name)
        self._kept()
        self._simple(EFFECTS, self._effect_name)
        self._simple(REPAIRS, lambda _key, _row: None)
        self._pending()
        self._count_missing()

    def _learn(self) -> None:
        """Look at the runs and checkpoints that are there."""
        for _key, value in self._job.rows(RUNS):
            run = None if value is None else parsed(partial(run_row, value))
            if run is not None:
                self._runs[run.number] = run
        self._current = set(self._runs)
        self._count_listed()

    def _count_listed(self) -> None:
        self._listed.clear()
        self._damaged.clear()
        for key, value in self._job.rows(CHECKPOINTS):
            number, sequence = checkpoint_place(key)
            row = None if value is None else parsed(partial(checkpoint_row, value, sequence))
            if row is None:
                self._damaged[number] += 1
            else:
                self._note(number, sequence, row)

    def _note(self, number: int, sequence: int, row: CheckpointRow) -> None:
        if not row.hidden:
            self._listed[number] += 1
            self._highest[number] = max(sequence, self._highest.get(number, 0))

    def _settings(self) -> None:
        for key, versions in self._job.older(STORE):
            value = versions[0].value
            if key != HEADER_KEY:
                value = max((each.value for each in versions), key=_next_record)
            self._job.put(STORE, key, value)

    # -- runs and checkpoints ----------------------------------------------------------------

    def _run_rows(self) -> None:
        if self._job.missing(RUNS) == 0:
            return
        for key, versions in self._job.older(RUNS):
            run = _newest(versions, run_row, lambda run: (run.number, run.last, -run.kept))
            if run is None or run.number in self._runs or name_key(run.name, "run name") != key:
                continue
            if run.number not in self._listed:
                if not self._job.holes.of(CHECKPOINTS.name):
                    continue  # it was deleted, with all that it listed
                self.uncertain.append(f"run:{run.name}")
            else:
                # What it lists is of the last commit, and goes on behind what this row knew.
                last = self._highest.get(run.number, 0)
                run = replace(run, head=last, last=last, kept=self._listed[run.number])
            self._runs[run.number] = run
            self._job.put(RUNS, key, run_value(run))

    def _checkpoints(self) -> None:
        missing = self._job.missing(CHECKPOINTS)
        if missing == 0:
            return
        wanted = {
            number: run.kept - self._listed[number]
            for number, run in self._runs.items()
            if number in self._current
        }
        back: dict[int, list[str]] = {}
        for key, versions in self._job.older(CHECKPOINTS):
            number, sequence = checkpoint_place(key)
            parse = partial(checkpoint_row, sequence=sequence)
            row = _newest(versions, parse, lambda row: row.hidden)
            if row is None or not self._may_be_listed(number, sequence, row, wanted):
                continue
            value = next(
                each.value for each in versions if parsed(partial(parse, each.value)) == row
            )
            self._job.put(CHECKPOINTS, key, value)
            self._note(number, sequence, row)
            if not row.hidden:
                run = self._runs.get(number)
                name = f"run number {number}" if run is None else run.name
                back.setdefault(number, []).append(f"{name}@{sequence}")
        total = sum(map(len, back.values()))
        for number, names in back.items():
            if len(names) > wanted.get(number, 0) and (missing is None or total > missing):
                self.uncertain += names

    def _may_be_listed(
        self, number: int, sequence: int, row: CheckpointRow, wanted: dict[int, int]
    ) -> bool:
        """Whether a checkpoint that was listed once may not have been forgotten since."""
        run = self._runs.get(number)
        if run is None:
            return bool(self._job.holes.of(RUNS.name))
        if number in self._current and (
            sequence > run.last or (wanted[number] <= 0 and not row.hidden)
        ):
            return False
        if row.key is None:
            return True
        place = key_place(number, row.key)
        return self._job.holes.covers(KEYS.name, place) or self._job.has(KEYS, place)

    # -- other tables ------------------------------------------------------------------------

    def _simple(
        self,
        table: Table,
        name: Callable[[bytes, bytes], str | None],
        *,
        replaced: bool = False,
    ) -> None:
        """Let the rows of a table come back of which a name is known."""
        missing = self._job.missing(table)
        if missing == 0:
            return
        names = []
        for key, versions in self._job.older(table, absent=replaced):
            found = parsed(partial(name, key, versions[0].value))
            if found is None and table != REPAIRS:
                continue
            self._job.put(table, key, versions[0].value)
            names += [found] if found is not None else []
        if replaced or missing is None or len(names) > missing:
            self.uncertain += names

    def _kept(self) -> None:
        """List checkpoints again whose rows are lost, and which a tag or pin still names."""
        numbers = {run.name: run for run in self._runs.values()}
        kept: list[TagRow | PinRow] = []
        for table, parse in ((TAGS, tag_row), (PINS, pin_row)):
            for _key, value in self._job.rows(table):
                row = None if value is None else parsed(partial(parse, value))
                kept += [row] if isinstance(row, TagRow | PinRow) and row.run in numbers else []
        for each in kept:
            run = numbers[each.run]
            place = checkpoint_key(run.number, each.sequence)
            is_missing = run.kept > self._listed[run.number] and not self._job.has(
                CHECKPOINTS, place
            )
            if is_missing and self._job.holes.covers(CHECKPOINTS.name, place):
                listed = CheckpointRow(each.record, each.id, 0, 0, 0)
                self._job.put(CHECKPOINTS, place, checkpoint_value(listed, each.sequence))
                self._note(run.number, each.sequence, listed)

    def _effect_name(self, key: bytes, row: bytes) -> str | None:
        run = self._runs.get(run_of(key))
        effect_row(row)
        return None if run is None else f"effect:{run.name}"

    def _pending(self) -> None:
        """Let pending writes come back unless a row may be an older one of a task.

        Half of what a task wrote would be taken for all of it; a task without writes is done again.
        """
        for key, versions in self._job.older(PENDING):
            whole = [each for each in versions if parsed(partial(pending_row, each.value))]
            place = parsed(partial(pending_place, key))
            run = None if place is None else self._runs.get(place[0])
            if place is None or run is None or len(whole) != 1 or whole[0].moment != UNKNOWN:
                continue
            self._job.put(PENDING, key, whole[0].value)
            self.uncertain.append(f"pending:{run.name}@{place[1]}")

    # -- what is not there -------------------------------------------------------------------

    def _count_missing(self) -> None:
        if not self._job.is_last:
            self.missing.append("perhaps what the last commit wrote")
        self._count_listed()
        gone = 0
        for number in self._current:
            run = self._runs[number]
            count = run.kept - self._listed[number] - self._damaged[number]
            if count > 0:
                gone += count
                self.missing.append(f"{_count(count, 'checkpoint')} of run {run.name!r}")
        absent = self._job.absent(CHECKPOINTS)
        if absent is None:
            # If all runs are there, and list what they count, it is certain that nothing is gone.
            if self._job.holes.of(RUNS.name):
                self.missing.append("perhaps runs and checkpoints: how many cannot be told")
        elif absent > gone:
            self.missing.append(f"{_count(absent - gone, 'checkpoint')} more")
        known_again = len({*self._listed, *self._damaged} - self._runs.keys())
        for table, what in _NAMES.items():
            absent = self._job.absent(table)
            if absent is None:
                if table != RUNS:  # which was told above
                    self.missing.append(f"perhaps {what}s: how many cannot be told")
                continue
            count = absent - (known_again if table == RUNS else 0)
            if count > 0:
                self.missing.append(_count(count, what))


_NAMES: Final = {
    RUNS: "run",
    TAGS: "tag",
    PINS: "pin",
    PENDING: "task's pending write",
    EFFECTS: "effect",
}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("s" if number != 1 else "")


def _newest(
    versions: list[Version], parse: Callable[[bytes], T], rank: Callable[[T], Any]
) -> T | None:
    """Return the newest version of a row; where that cannot be told, the one of highest rank."""
    rows = [(each.moment, parsed(partial(parse, each.value))) for each in versions]
    sound = [(moment, row) for moment, row in rows if row is not None]
    return max(sound, key=lambda pair: (pair[0], rank(pair[1])))[1] if sound else None


def _pin_name(_key: bytes, row: bytes) -> str:
    pin = pin_row(row)
    return f"pin:{pin.run}@{pin.sequence}"


def _next_record(row: bytes) -> int:
    counters = Counters.of_row(row)
    return 0 if counters is None else counters.next_record
