"""Changing which names lead to a checkpoint: forks, tags, forgetting. Objects stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cas.errors import ConflictError, NotFoundError
from cas.writer import RecordWriter
from manifests.catalogue import CatalogueWriter, TagRow
from manifests.manifest import Checkpoint
from manifests.names import check_name
from manifests.refs import RefLike, Resolver

__all__ = ["forget", "fork", "tag", "untag"]


def fork(writer: RecordWriter, ref: RefLike, new_run: str, created_us: int) -> None:
    """List a checkpoint as the first one of a new run."""
    listed = Resolver(writer).resolve(ref)
    catalogue = CatalogueWriter(writer.writing)
    if catalogue.run(new_run) is not None:
        raise ConflictError(f"there is a run {new_run!r} already", run=new_run)
    row = replace(listed.row, parent=0, new_objects=0, new_bytes=0)
    catalogue.append(catalogue.new_run(new_run, created_us), row)
    writer.root(row.record)


def tag(writer: RecordWriter, name: str, ref: RefLike, *, force: bool) -> None:
    """Write a tag."""
    check_name(name, "tag")
    listed = Resolver(writer).resolve(ref)
    catalogue = CatalogueWriter(writer.writing)
    known = catalogue.tag(name)
    if known is not None and known.id != listed.row.id and not force:
        raise ConflictError(
            f"the tag {name!r} names {known.run}@{known.sequence}; move it with force=True"
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


def forget(writer: RecordWriter, checkpoints: Sequence[Checkpoint]) -> None:
    """Take checkpoints off their runs' lists, unless one of them is a head or tagged."""
    catalogue = CatalogueWriter(writer.writing)
    tagged = {row.id: row.name for row in catalogue.tags()}
    for checkpoint in checkpoints:
        place = f"{checkpoint.run}@{checkpoint.sequence}"
        run = catalogue.need_run(checkpoint.run)
        if run.head == checkpoint.sequence:
            raise ConflictError(f"{place} is the head of its run", run=checkpoint.run)
        if checkpoint.id in tagged:
            raise ConflictError(
                f"{place} has the tag {tagged[checkpoint.id]!r}", run=checkpoint.run
            )
        row = catalogue.checkpoint(run.number, checkpoint.sequence)
        if row is None or row.id != checkpoint.id:
            raise NotFoundError(f"{place} was forgotten already")
        catalogue.drop(run, [checkpoint.sequence])
        writer.unroot(row.record)
