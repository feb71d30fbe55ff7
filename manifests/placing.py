"""Where commits go: behind which checkpoint of a run, and whether that is still so."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cas.digest import Digest
from cas.errors import ConflictError, InvalidInputError, NotFoundError
from cas.records import RecordReader
from manifests.catalogue import Catalogue
from manifests.refs import RefLike, Resolver
from manifests.rows import CheckpointRow, RunRow

__all__ = ["Place", "keyed_place", "place_after", "refuse_moved"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a commit goes: run and sequence, its parent, and the head it expects to find there.

    ``parent_sequence`` is 0 if there is no parent or it is in another run. ``head`` is (sequence,
    id), or None if the run must be new. ``key`` is the framework's id of the checkpoint: a place
    with one need not be behind the head, unless it ``extends_head``.
    """

    run: str
    sequence: int
    parent: Digest | None
    parent_sequence: int
    head: tuple[int, Digest] | None
    key: str | None = None
    extends_head: bool = True
    needs_parent: bool = False

    @property
    def branches(self) -> bool:
        """Whether the commit leaves the head on purpose and builds on an older checkpoint."""
        return self.head is not None and self.head != (self.parent_sequence, self.parent)

    @classmethod
    def next(cls, run: str, head: tuple[int, Digest] | None) -> Place:
        """Return the place behind a head (sequence, id), or the first one of a new run."""
        if head is None:
            return cls(run, 1, None, 0, None)
        return cls(run, head[0] + 1, head[1], head[0], head)


def place_after(
    reader: RecordReader, run: str, parent: RefLike, seen: tuple[int, Digest] | None
) -> Place:
    """Return the place behind a parent that the caller named.

    The parent may be the head; an older checkpoint, which forks inside the run; or one of another
    run, if this run is new. ``seen`` is the head as the caller's handle last saw it: if that is
    the parent but no longer the head, the caller meant the head, and ``write_commit`` refuses.
    """
    resolver = Resolver(reader)
    listed = resolver.resolve(parent)
    catalogue = Catalogue(reader.transaction)
    row = catalogue.run(run)
    if row is None or not row.last:
        return Place(run, 1, listed.row.id, 0, None)
    if listed.run != run:
        # A fork lists its first checkpoint in both runs.
        listed = resolver.within(run, listed.row.id)
    newest = resolver.resolve((run, row.head))
    named, head = (listed.sequence, listed.row.id), (newest.sequence, newest.row.id)
    if named in (head, seen):
        return Place.next(run, named)
    return Place(run, row.last + 1, listed.row.id, listed.sequence, head)


def keyed_place(
    reader: RecordReader,
    run: str,
    key: str,
    parent: RefLike | None,
    *,
    extends_head: bool = False,
) -> Place:
    """Return the place of a checkpoint whose id the framework gave, in a run of such.

    ``parent`` is a checkpoint of the same run, or None if it has none. A key that the run lists
    keeps its sequence: the checkpoint is replaced.
    """
    catalogue = Catalogue(reader.transaction)
    row = catalogue.run(run)
    listed = None if parent is None else Resolver(reader).resolve(parent)
    if listed is not None and listed.run != run:
        raise InvalidInputError(f"{listed.run}@{listed.sequence} is not one of run {run!r}")
    place = Place(run, _keyed_sequence(catalogue, row, key), None, 0, None, key, extends_head)
    if listed is not None:
        if listed.sequence >= place.sequence:
            raise NotFoundError(
                f"{listed.run}@{listed.sequence} was saved after {key!r}, which this replaces, and "
                "cannot be its parent"
            )
        place = replace(place, parent=listed.row.id, parent_sequence=listed.sequence)
    head = None if row is None else catalogue.head(row)
    return place if row is None or head is None else replace(place, head=(row.head, head.id))


def _keyed_sequence(catalogue: Catalogue, run: RunRow | None, key: str) -> int:
    """Return the sequence of a key: the one it has, or the next."""
    if run is None:
        return 1
    return catalogue.sequence_of(run.number, key) or run.last + 1


def refuse_moved(
    catalogue: Catalogue, run: RunRow | None, head: CheckpointRow | None, place: Place
) -> None:
    """Refuse a commit whose place is another one by now, in the transaction that would write it.

    Args:
        catalogue: What the store lists.
        run: The row of the commit's run, if it has one.
        head: The row of that run's head, if it has one.
        place: Where the commit was to go.

    Raises:
        ConflictError: Another writer came in between, or others need what it would replace.
        InvalidInputError: The run has keys, and the commit has none; or the other way round.
    """
    _refuse_other_kind(head, place)
    _refuse_hidden(catalogue, run, place)
    _refuse_another(catalogue, run, head, place)


def _refuse_other_kind(head: CheckpointRow | None, place: Place) -> None:
    if head is not None and (head.key is None) != (place.key is None):
        has = "no keys" if head.key is None else "keys that its framework gave them"
        raise InvalidInputError(f"the checkpoints of run {place.run!r} have {has}; so must this")


def _refuse_hidden(catalogue: Catalogue, run: RunRow | None, place: Place) -> None:
    """Refuse to replace a checkpoint that is kept for others: they are rebuilt through it."""
    if run is None or place.key is None or place.sequence > run.last:
        return
    row = catalogue.checkpoint(run.number, place.sequence)
    if row is not None and row.hidden:
        raise ConflictError(
            f"checkpoint {place.key!r} of run {place.run!r} was forgotten, and others are rebuilt "
            "from what is left of it; save it in another run",
            run=place.run,
        )


def _refuse_another(
    catalogue: Catalogue, run: RunRow | None, row: CheckpointRow | None, place: Place
) -> None:
    """Refuse a place that is another one by now; ``row`` is that of the run's head."""
    if place.key is not None and not place.extends_head:
        _refuse_gone(catalogue, run, place, place.key)
        return
    last = 0 if run is None else run.last
    head = None if run is None or row is None else (run.head, row.id)
    if place.key is not None:
        # The sequence behind the head may be one that a smaller key has.
        last = 0 if run is None else run.head
        if head == place.head and place.sequence == _keyed_sequence(catalogue, run, place.key):
            return
    elif last == place.sequence - 1 and head == place.head:
        return
    expected = "to be new" if place.head is None else f"to be at {place.sequence - 1}"
    advice = "restore its head and go on from there, or fork"
    if last >= place.sequence - 1:
        cause = "another writer moved it"
    else:
        cause = "an earlier commit was prepared and not written"
        if last:
            cause = f"it was deleted and begun anew, or {cause}"
        else:
            cause = f"it was deleted, or it is new and {cause}"
            advice = "begin it anew, or write the earlier one first"
    if last == place.sequence - 1:
        expected = f"to be at another checkpoint {last}"
    raise ConflictError(
        f"run {place.run!r} is at checkpoint {last}, this commit expects it {expected}: {cause}; "
        f"{advice}",
        run=place.run,
    )


def _refuse_gone(catalogue: Catalogue, run: RunRow | None, place: Place, key: str) -> None:
    """Refuse a place that is another one by now; whoever asks for it anew finds the right one."""
    parent = None
    if run is not None and place.parent_sequence:
        parent = catalogue.checkpoint(run.number, place.parent_sequence)
    found = None if parent is None or parent.hidden else parent.id
    if found != place.parent or _keyed_sequence(catalogue, run, key) != place.sequence:
        raise ConflictError(
            f"run {place.run!r} changed while {key} was prepared; commit it again", run=place.run
        )
