"""Changing which names lead to a checkpoint: forks, tags, pins, runs. Objects stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from cas.errors import ConflictError, NotFoundError
from cas.writer import RecordWriter
from manifests.catalogue import CatalogueWriter
from manifests.claims import drop_claim
from manifests.effects import copy_effects, drop_effects
from manifests.manifest import Checkpoint
from manifests.names import check_name
from manifests.pending import anchor_of
from manifests.pending_rows import copy_pending, drop_pending
from manifests.refs import RefLike, Resolver
from manifests.rows import PinRow, TagRow

__all__ = ["delete_run", "delete_unmoved", "fork", "pin", "tag", "unpin", "untag"]

_MOST_SHOWN: Final = 5


def fork(writer: RecordWriter, ref: RefLike, new_run: str, created_us: int) -> int:
    """List a checkpoint in a new run, behind those that it cannot be used without.

    What else belongs to it comes along: the pending writes of all these (its own only if no
    checkpoint was built on it: then its step may be under way, else it begins again), and what its
    run had done. Returns its sequence there.
    """
    listed = Resolver(writer).resolve(ref)
    catalogue = CatalogueWriter(writer.writing)
    if catalogue.run(new_run) is not None:
        raise ConflictError(f"there is a run {new_run!r} already", run=new_run)
    origin = catalogue.run(listed.run)
    chain = [(listed.sequence, listed.row)]
    if origin is not None and listed.row.needs_parent:
        chain = catalogue.chain(origin, listed.sequence)
    is_open = origin is not None and catalogue.is_open(origin, listed.sequence, listed.row)
    run = catalogue.new_run(new_run, created_us)
    records = []
    for sequence, row in chain:
        run = catalogue.append(
            run, replace(row, parent=run.last, new_objects=0, new_bytes=0, tip=False)
        )
        records.append(row.record)
        if origin is not None and (is_open or sequence != listed.sequence):
            source, target = anchor_of(sequence, row), anchor_of(run.last, row)
            records += copy_pending(writer, (origin.number, source), (run.number, target))
    if origin is not None:
        place = origin.number, listed.sequence
        records += copy_effects(writer, place, (run.number, run.last), is_open=is_open)
    writer.root(*records)
    return run.head


def tag(writer: RecordWriter, name: str, ref: RefLike, *, force: bool) -> None:
    """Write a tag."""
    check_name(name, "tag")
    listed = Resolver(writer).resolve(ref)
    catalogue = CatalogueWriter(writer.writing)
    known = catalogue.tag(name)
    if known is not None and known.id != listed.row.id and not force:
        raise ConflictError(
            f"the tag {name!r} names {known.run}@{known.sequence}; pass "
            "force=True (--force) to move it"
        )
    catalogue.put_tag(TagRow(name, listed.row.record, listed.row.id, listed.run, listed.sequence))
    if known is not None:
        writer.unroot(known.record)
    writer.root(listed.row.record)


def untag(writer: RecordWriter, name: str) -> None:
    """Remove a tag."""
    catalogue = CatalogueWriter(writer.writing)
    known = catalogue.tag(name)
    if known is None:
        raise NotFoundError(f"there is no tag {name!r}")
    catalogue.drop_tag(name)
    writer.unroot(known.record)


def pin(writer: RecordWriter, ref: RefLike, reason: str) -> None:
    """Write a pin."""
    if reason:
        check_name(reason, "reason")
    listed = Resolver(writer).resolve(ref)
    row = listed.row
    CatalogueWriter(writer.writing).put_pin(
        PinRow(row.record, row.id, listed.run, listed.sequence, reason)
    )
    writer.root(row.record)


def unpin(writer: RecordWriter, ref: RefLike) -> None:
    """Remove a pin."""
    listed = Resolver(writer).resolve(ref)
    if not CatalogueWriter(writer.writing).drop_pin(listed.row.id):
        raise NotFoundError(f"{listed.run}@{listed.sequence} is not pinned")
    writer.unroot(listed.row.record)


def delete_run(writer: RecordWriter, name: str, *, force: bool) -> int:
    """Remove a run with all it lists, in one transaction; returns how many checkpoints it had.

    What is tagged or pinned under its name is refused, or with ``force`` removed too.
    """
    catalogue = CatalogueWriter(writer.writing)
    run = catalogue.need_run(name)
    tags = [tag for tag in catalogue.tags() if tag.run == name]
    pins = [pin for pin in catalogue.pins() if pin.run == name]
    if (tags or pins) and not force:
        kept = [f"tag {tag.name!r}" for tag in tags] + [f"pin of {name}@{p.sequence}" for p in pins]
        raise ConflictError(
            f"checkpoints of run {name!r} are to be kept ({', '.join(kept[:_MOST_SHOWN])}); remove "
            "these first, or pass force=True (--force)",
            run=name,
        )
    rows = [row.record for _sequence, row in catalogue.newest(run.number)]
    beside = [
        *drop_pending(writer.writing, run.number, None),
        *drop_effects(writer.writing, run.number),
    ]
    catalogue.drop_run(run)
    drop_claim(writer.writing, name)
    for tag in tags:
        catalogue.drop_tag(tag.name)
    for pin in pins:
        catalogue.drop_pin(pin.id)
    writer.unroot(*rows, *beside, *(tag.record for tag in tags), *(pin.record for pin in pins))
    return run.kept


def delete_unmoved(writer: RecordWriter, heads: Sequence[Checkpoint]) -> list[int]:
    """Remove the runs that still have these heads, as ``delete_run`` does; all of them or none."""
    catalogue = CatalogueWriter(writer.writing)
    for head in heads:
        run = catalogue.need_run(head.run)
        row = catalogue.checkpoint(run.number, run.head)
        if row is None or row.id != head.id:
            raise ConflictError(f"run {head.run!r} was extended meanwhile", run=head.run)
    return [delete_run(writer, head.run, force=False) for head in heads]
