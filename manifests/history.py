"""Reading the history of runs: find, restore, list, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from cas.digest import Digest
from cas.errors import InvalidInputError, LimitError, NotFoundError
from cas.records import Record, RecordReader
from manifests.catalogue import Catalogue
from manifests.diff import Change, Touched, changes, touched
from manifests.forms import Forms
from manifests.kept import KeptValues, Restoring
from manifests.manifest import (
    Checkpoint,
    Manifest,
    ManifestReader,
    checkpoint_of,
)
from manifests.outline import Outline, outline
from manifests.pending import anchor_of
from manifests.pending_rows import Anchor
from manifests.places import PathLike, Places
from manifests.reading import StoreReader
from manifests.refs import Listed, RefLike, Resolver
from manifests.registry import Registry
from manifests.rows import CheckpointRow, PinRow, RunRow
from manifests.together import StoredObject

__all__ = [
    "Found",
    "diff",
    "execution",
    "find",
    "find_pinned",
    "find_tag",
    "head_of",
    "listed",
    "log",
    "outline_at",
    "restore",
    "tags",
    "touched_by",
    "value_at",
]

_BATCH: Final = 256
"""Checkpoints listed in one read transaction."""


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint found by reference, and whether it is the head of its run."""

    checkpoint: Checkpoint
    manifest: Manifest
    is_head: bool


def head_of(reader: RecordReader, name: str) -> tuple[int, Digest] | None:
    """Return (sequence, id) of a run's head, or None if there is no such run."""
    catalogue = Catalogue(reader.transaction)
    run = catalogue.run(name)
    row = None if run is None else catalogue.checkpoint(run.number, run.head)
    return None if run is None or row is None else (run.head, row.id)


def find(reader: StoreReader, ref: RefLike) -> Found:
    """Return the checkpoint that a reference names, with its manifest."""
    return _find(reader, lambda resolver: resolver.resolve(ref))


def find_tag(reader: StoreReader, name: str) -> Found:
    """Return the checkpoint that has a tag, with its manifest."""
    return _find(reader, lambda resolver: resolver.tag(name))


def find_pinned(reader: StoreReader, pin: PinRow) -> Found:
    """Return the checkpoint that a pin keeps, with its manifest."""
    return _find(reader, lambda resolver: resolver.kept(pin))


def _find(reader: StoreReader, resolve: Callable[[Resolver], Listed]) -> Found:
    def look_up(records: RecordReader) -> tuple[Listed, StoredObject, bool]:
        listed = resolve(Resolver(records))
        run = Catalogue(records.transaction).run(listed.run)
        is_head = run is not None and run.head == listed.sequence
        return listed, reader.known(records, listed.row.record, listed.row.id), is_head

    listed, record, is_head = reader.run(look_up)
    manifest = ManifestReader(reader.load).read(record)
    checkpoint = checkpoint_of(manifest, listed.row.id, listed.run, listed.sequence, listed.row)
    return Found(checkpoint, manifest, is_head)


def restore(
    reader: StoreReader, kept: KeptValues, ref: RefLike, keys: Sequence[Any] | None
) -> tuple[Found, Any, Restoring]:
    """Return the state of a checkpoint, whole or of some keys only, and how it was restored."""
    found = find(reader, ref)
    restoring = Restoring(kept)
    forms = restoring.forms(reader)
    if keys is None:
        return found, forms.value(found.manifest.state), restoring
    return found, {key: _field(forms, found, key) for key in keys}, restoring


def _field(forms: Forms, found: Found, key: Any) -> Any:
    try:
        form = forms.field(found.manifest.state, key)
    except KeyError:
        place = f"{found.checkpoint.run}@{found.checkpoint.sequence}"
        raise NotFoundError(f"the state of {place} has no key {key!r}") from None
    return forms.value(form)


def value_at(reader: StoreReader, registry: Registry, ref: RefLike, path: PathLike) -> Any:
    """Return what stands at a place of a state."""
    root = find(reader, ref).manifest.state
    places = Places(Forms(registry, reader.load))
    return places.value(root, places.steps(root, path))


def outline_at(
    reader: StoreReader, registry: Registry, ref: RefLike, path: PathLike, part: range
) -> Outline:
    """Return the outline of what stands at a place of a state."""
    root = find(reader, ref).manifest.state
    forms = Forms(registry, reader.load)
    steps = Places(forms).steps(root, path)
    return outline(forms, root, steps, part.start, part.stop)


def execution(reader: StoreReader, kept: KeptValues, ref: RefLike) -> dict[str, Any]:
    """Return the execution record of a checkpoint, empty if it has none."""
    value = Restoring(kept).forms(reader).value(find(reader, ref).manifest.execution)
    return {} if value is None else value


def diff(
    reader: StoreReader, registry: Registry, before: RefLike, after: RefLike, limit: int | None
) -> list[Change]:
    """Return what changed from one state to another, at most ``limit`` differences."""
    old, new = find(reader, before).manifest.state, find(reader, after).manifest.state
    return list(islice(changes(Forms(registry, reader.load), old, new), limit))


def touched_by(
    reader: StoreReader, registry: Registry, refs: Sequence[RefLike]
) -> list[list[Touched] | None]:
    """Return what each checkpoint changed in the state of its parent, None if that is forgotten."""
    forms = Forms(registry, reader.load)
    return [_touched(reader, forms, find(reader, ref)) for ref in refs]


def _touched(reader: StoreReader, forms: Forms, found: Found) -> list[Touched] | None:
    if found.checkpoint.parent is None:
        return touched(forms, {}, found.manifest.state)
    try:
        parent = _find(reader, lambda resolver: resolver.parent(found.checkpoint))
    except NotFoundError:
        return None
    try:
        return touched(forms, parent.manifest.state, found.manifest.state)
    except LimitError:
        return [Touched("changed", "")]  # in more places than can be counted


def log(
    reader: StoreReader, run: str, limit: int | None, below: Anchor | None = None
) -> list[Checkpoint]:
    """Return the checkpoints that a run lists, newest first, from below a sequence or key."""
    return [checkpoint for checkpoint, _manifest in listed(reader, run, limit, below)]


def listed(
    reader: StoreReader, run: str, limit: int | None, below: Anchor | None = None
) -> Iterator[tuple[Checkpoint, Manifest]]:
    """Yield what ``log`` returns, with the manifests."""
    manifests = ManifestReader(reader.load)
    found = 0
    while limit is None or found < limit:
        most = _BATCH if limit is None else min(_BATCH, limit - found)
        rows = reader.run(partial(_rows, name=run, below=below, most=most))
        for sequence, row, record in rows:
            manifest = manifests.read(record)
            yield checkpoint_of(manifest, row.id, run, sequence, row), manifest
        if len(rows) < most:
            break
        found += most
        below = anchor_of(*rows[-1][:2])


def _rows(
    reader: RecordReader, name: str, below: Anchor | None, most: int
) -> list[tuple[int, CheckpointRow, Record]]:
    """Return up to ``most`` rows with their manifests' records, of one moment."""
    catalogue = Catalogue(reader.transaction)
    run = catalogue.need_run(name)
    rows: list[tuple[int, CheckpointRow, Record]] = []
    for sequence, row in _newest(catalogue, run, below):
        if row.hidden:
            continue
        if len(rows) == most:
            break
        rows.append((sequence, row, reader.read_as(row.record, row.id)))
    return rows


def _newest(
    catalogue: Catalogue, run: RunRow, below: Anchor | None
) -> Iterator[tuple[int, CheckpointRow]]:
    head = catalogue.head(run)
    if head is None or head.key is None:
        if isinstance(below, str):
            raise InvalidInputError(f"checkpoints of run {run.name!r} have no keys")
        return catalogue.newest(run.number, below=below)
    if isinstance(below, int):
        row = catalogue.checkpoint(run.number, below)
        if row is None or row.key is None:
            raise NotFoundError(f"run {run.name!r} has no checkpoint {below}; name it by its key")
        below = row.key
    return catalogue.newest_by_key(run.number, below=below)


def tags(reader: StoreReader) -> dict[str, Checkpoint]:
    """Return all tags with their checkpoints."""
    names = reader.run(lambda records: [tag.name for tag in Catalogue(records.transaction).tags()])
    found = {}
    for name in names:
        try:
            found[name] = find_tag(reader, name).checkpoint
        except NotFoundError:
            continue  # removed since the list was read
    return found
