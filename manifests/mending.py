"""Mending what runs have beside their states: keys, pending writes, effects. Part of a repair.

What one task wrote stays whole or goes whole: half of it would be taken for all, whereas a task
without writes is done again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from cas.digest import Digest
from cas.environment import Table, WriteTransaction
from manifests.bodies import ObjectBody, StoredBody
from manifests.catalogue import CatalogueWriter
from manifests.check import MALFORMED, raw_rows
from manifests.effects import EFFECTS, EffectRow, effect_key, effect_row, put_effect
from manifests.healing import Healer
from manifests.pending_rows import PENDING, PendingRow, pending_place, pending_row, put_row
from manifests.rows import KEYS, RunRow, behind_run, key_place, key_row, run_of, run_range

__all__ = ["Mending", "Notes", "known_keys", "wanted_bodies"]


@dataclass(slots=True)
class Notes:
    """What a repair does, as its report will say it (see ``RepairReport``)."""

    restored: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    moved: list[tuple[str, int, int]] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)


def wanted_bodies(transaction: WriteTransaction) -> set[Digest]:
    """Return the addresses of all values that rows beside the states lead to."""
    bodies: list[StoredBody] = []
    for table in (PENDING, EFFECTS):
        for key, sealed in raw_rows(transaction, table):
            found = _sound(table, key, sealed)
            if isinstance(found, PendingRow):
                bodies += found.bodies
            elif isinstance(found, EffectRow):
                bodies.append(found.body)
    return {body.id for body in bodies if isinstance(body, ObjectBody)}


def known_keys(transaction: WriteTransaction, run: int) -> dict[int, str]:
    """Return the keys of a run's checkpoints by sequence, as sound rows of ``keys`` have them."""
    found = {}
    for key, sealed in transaction.items(KEYS.sealed, *run_range(run)):
        try:
            found[key_row(KEYS.unseal(key, sealed))] = behind_run(key).decode()
        except MALFORMED:
            continue
    return found


@dataclass(slots=True)
class Mending:
    """What one repair does about these rows, in its transaction."""

    transaction: WriteTransaction
    healer: Healer
    notes: Notes

    def keys(self, runs: Iterable[RunRow]) -> None:
        """Let exactly the keys of listed checkpoints lead to them."""
        catalogue = CatalogueWriter(self.transaction)
        right = {
            key_place(run.number, row.key): sequence
            for run in runs
            for sequence, row in catalogue.newest(run.number)
            if row.key is not None
        }
        changed = 0
        for key, sealed in list(raw_rows(self.transaction, KEYS)):
            try:
                sequence = key_row(KEYS.unseal(key, sealed))
            except MALFORMED:
                sequence = 0
            if right.get(key) == sequence:
                del right[key]
            elif key not in right:
                self.transaction.delete(KEYS, key)
                changed += 1
        for key, sequence in right.items():
            number = run_of(key)
            catalogue.put_key(number, behind_run(key).decode(), sequence)
            changed += 1
        if changed:
            self.notes.fixed.append(f"{changed} keys of checkpoints")

    def beside(self, runs: Iterable[RunRow]) -> None:
        """Keep pending writes and effects that are whole, and drop the others."""
        names = {run.number: run.name for run in runs}
        for table in (PENDING, EFFECTS):
            for key, sealed in list(raw_rows(self.transaction, table)):
                self._row(table, key, _sound(table, key, sealed), names)

    def _row(
        self, table: Table, key: bytes, row: PendingRow | EffectRow | None, names: dict[int, str]
    ) -> None:
        run = names.get(run_of(key))
        if row is None or run is None:
            self.transaction.delete(table, key)
            self.notes.dropped.append(f"a row of {table.name}")
            return
        place = run if isinstance(row, EffectRow) else f"{run}@{pending_place(key)[1]}"
        kind = "effect" if isinstance(row, EffectRow) else "pending"
        right = self._whole(row)
        if right is None:
            self.transaction.delete(table, key)
            self.notes.dropped.append(f"{kind}:{place}")
        elif right != row:
            if isinstance(right, PendingRow):
                put_row(self.transaction, key, right)
            else:
                put_effect(self.transaction, run_of(key), right)
            self.notes.restored.append(f"{kind}:{place}")

    def _whole(self, row: PendingRow | EffectRow) -> PendingRow | EffectRow | None:
        """Return a row whose values all are there, under the records they have now."""
        if isinstance(row, EffectRow):
            body = self._placed(row.body)
            return None if body is None else replace(row, body=body)
        writes = {}
        for index, (name, old) in row.writes.items():
            body = self._placed(old)
            if body is None:
                return None
            writes[index] = name, body
        return replace(row, writes=writes)

    def _placed(self, body: StoredBody) -> StoredBody | None:
        if not isinstance(body, ObjectBody):
            return body
        number = self.healer.place(body.record, body.id, manifest=False)
        return None if number is None else ObjectBody(number, body.id)


def _sound(table: Table, key: bytes, sealed: bytes) -> PendingRow | EffectRow | None:
    """Return what a row says, None if it is damaged."""
    try:
        value = table.unseal(key, sealed)
        if table is PENDING:
            pending_place(key)
            return pending_row(value)
        row = effect_row(value)
        return row if effect_key(run_of(key), row.name) == key else None
    except MALFORMED:
        return None
