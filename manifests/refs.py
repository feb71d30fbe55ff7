"""References: what people type for a checkpoint, and the listing it leads to.

``run`` (its head), ``run@12`` (by sequence), ``run~3`` (third ancestor; also ``run@12~3``),
``run@KEY`` (the id that its framework gave it), ``tag:name``, or the first six or more hex digits
of an id. A string that is exactly a run's name is that run, whatever else it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cas.digest import Digest
from cas.errors import InvalidInputError, NotFoundError
from cas.records import INDEX, UNREADABLE, Record, RecordReader, row_numbers
from manifests.catalogue import Catalogue
from manifests.cbor import MANIFEST, tag_head
from manifests.manifest import Checkpoint, Manifest, ManifestReader
from manifests.names import check_key
from manifests.rows import CheckpointRow, PinRow, RunRow, TagRow

__all__ = ["Listed", "RefLike", "Resolver"]

RefLike = str | Digest | Checkpoint | tuple[str, int] | tuple[str, str]
"""A reference as text, an id, a checkpoint, (run name, sequence), or (run name, key)."""

_SEQUENCE: Final = re.compile(r"(?P<run>.+)@(?P<sequence>[1-9][0-9]{0,9})", re.DOTALL)
_ANCESTOR: Final = re.compile(r"(?P<base>.+)~(?P<count>[0-9]{1,9})", re.DOTALL)
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{6,64}")
_TAG: Final = "tag:"
_LONGEST: Final = 2_048
"""Most characters of a reference: a name with what may stand behind it."""
_MOST_CANDIDATES: Final = 10
_MANIFEST_HEAD: Final = tag_head(MANIFEST)


@dataclass(frozen=True, slots=True)
class Listed:
    """A checkpoint in the place where it was found: run name, sequence and catalogue row."""

    run: str
    sequence: int
    row: CheckpointRow


class Resolver:
    """Resolves references in one read transaction."""

    def __init__(self, reader: RecordReader) -> None:
        self._reader = reader
        self._catalogue = Catalogue(reader.transaction)
        self._opener = ManifestReader(reader.read_all)

    def resolve(self, ref: RefLike) -> Listed:
        """Return the listing that a reference names.

        Raises ``NotFoundError`` (also for a forgotten checkpoint, saying so) or
        ``InvalidInputError`` for what is no reference or an ambiguous one.
        """
        if isinstance(ref, Digest):
            return self._by_id(ref)
        if isinstance(ref, Checkpoint):
            return self._by_checkpoint(ref)
        match ref:
            case (str(run), int(sequence)) if type(sequence) is int:
                return self._by_sequence(run, sequence)
            case (str(run), str(key)):
                return self._by_key(run, key)
        if isinstance(ref, str):
            return self._by_text(ref)
        raise InvalidInputError(
            f"a reference is a text, an id, a checkpoint, (run, sequence) or (run, key), "
            f"not {type(ref).__name__}"
        )

    def tag(self, name: str) -> Listed:
        """Return the listing of a tag. As text, ``tag:name`` may be the name of a run."""
        tag = self._catalogue.tag(name)
        if tag is None:
            raise NotFoundError(f"there is no tag {name!r}")
        return self.kept(tag)

    def kept(self, by: TagRow | PinRow) -> Listed:
        """Return the listing of what a tag or pin keeps."""
        run = self._catalogue.run(by.run)
        row = None if run is None else self._catalogue.checkpoint(run.number, by.sequence)
        if row is None or row.id != by.id or row.hidden:
            # Its run forgot it; the tag or pin alone keeps it.
            row = CheckpointRow(by.record, by.id, parent=0, new_objects=0, new_bytes=0)
        return Listed(by.run, by.sequence, row)

    def within(self, run: str, digest: Digest) -> Listed:
        """Return the listing of a checkpoint in one run; ``InvalidInputError`` if it has none."""
        number = self._catalogue.need_run(run).number
        for sequence, row in self._catalogue.newest(number):
            if row.id == digest and not row.hidden:
                return Listed(run, sequence, row)
        raise InvalidInputError(f"checkpoint {digest.short} is not one of run {run!r}")

    def parent(self, ref: RefLike) -> Listed:
        """Return the listing of a checkpoint's parent; ``NotFoundError`` if there is none left."""
        listed = self.resolve(ref)
        return self._ancestor(listed, 1, f"{listed.run}@{listed.sequence}~1")

    def _by_text(self, ref: str) -> Listed:
        if len(ref) > _LONGEST:
            raise InvalidInputError(f"a reference has at most {_LONGEST} characters")
        base, steps = ref, []
        while (listed := self._by_name(base)) is None:
            match = _ANCESTOR.fullmatch(base)
            if match is None:
                raise NotFoundError(
                    f"there is no run {base!r}; write RUN, RUN@SEQUENCE, RUN~STEPS, tag:NAME or at "
                    "least six hex digits of an id"
                )
            base = match["base"]
            steps.append(int(match["count"]))
        for count in reversed(steps):
            listed = self._ancestor(listed, count, ref)
        return listed

    def _by_name(self, ref: str) -> Listed | None:
        """Return what a text without ``~`` at its end names, None if it has another form."""
        listed = self._head(ref)
        if listed is not None:
            return listed
        match = _SEQUENCE.fullmatch(ref)
        if ref.startswith(_TAG) and not (match and self._run(match["run"])):
            return self.tag(ref[len(_TAG) :])
        if match:
            return self._by_sequence(match["run"], int(match["sequence"]))
        name, _, key = ref.rpartition("@")
        if name and key and self._has_key(name, key):
            return self._by_key(name, key)
        return self._by_prefix(ref) if _ID_PREFIX.fullmatch(ref) else None

    def _run(self, name: str) -> RunRow | None:
        """Return a run; None also for what cannot be the name of one."""
        try:
            return self._catalogue.run(name)
        except InvalidInputError:
            return None

    def _head(self, name: str) -> Listed | None:
        run = self._run(name)
        if run is None:
            return None
        row = self._catalogue.listed_head(run)
        if row is None:
            raise NotFoundError(f"run {name!r} keeps no checkpoint yet")
        return Listed(name, run.head, row)

    def _by_sequence(self, name: str, sequence: int) -> Listed:
        run = self._catalogue.need_run(name)
        row = self._catalogue.checkpoint(run.number, sequence)
        if row is not None and not row.hidden:
            return Listed(name, sequence, row)
        if 0 < sequence <= run.last:
            raise NotFoundError(f"checkpoint {sequence} of run {name!r} was forgotten")
        raise NotFoundError(f"run {name!r} has no checkpoint {sequence}; its last is {run.last}")

    def _by_key(self, name: str, key: str) -> Listed:
        check_key(key)
        run = self._catalogue.need_run(name)
        sequence = self._catalogue.sequence_of(run.number, key)
        row = None if sequence is None else self._catalogue.checkpoint(run.number, sequence)
        if sequence is None or row is None or row.hidden:
            raise NotFoundError(f"run {name!r} has no checkpoint {key!r}")
        return Listed(name, sequence, row)

    def _has_key(self, name: str, key: str) -> bool:
        try:
            self._by_key(name, key)
        except (InvalidInputError, NotFoundError):
            return False
        return True

    def _by_checkpoint(self, checkpoint: Checkpoint) -> Listed:
        run = self._catalogue.run(checkpoint.run)
        if run is not None:
            row = self._catalogue.checkpoint(run.number, checkpoint.sequence)
            if row is not None and row.id == checkpoint.id and not row.hidden:
                return Listed(checkpoint.run, checkpoint.sequence, row)
        return self._by_id(checkpoint.id)

    def _by_id(self, digest: Digest) -> Listed:
        listed = self._place_of(digest)
        if listed is None:
            raise NotFoundError(f"no run lists checkpoint {digest.short}: forgotten, or never here")
        return listed

    def _by_prefix(self, prefix: str) -> Listed:
        ids = [Digest(record.digest) for record in self._manifests(prefix)]
        found = {digest: listed for digest in ids if (listed := self._place_of(digest)) is not None}
        if not found:
            found = {listed.row.id: listed for listed in self._scan(prefix)}
        if len(found) > 1:
            some = ", ".join(
                f"{listed.row.id.short} ({listed.run}@{listed.sequence})"
                for listed in list(found.values())[:_MOST_CANDIDATES]
            )
            raise InvalidInputError(f"the id {prefix!r} is ambiguous: {some}")
        if not found:
            raise NotFoundError(f"there is no run {prefix!r} and no checkpoint with such an id")
        return next(iter(found.values()))

    def _manifests(self, prefix: str) -> Iterator[Record]:
        """Yield the manifests whose digest begins with these hex digits."""
        whole = bytes.fromhex(prefix[: len(prefix) // 2 * 2])[:8]
        after = int.from_bytes(whole, "big") + 1
        end = after.to_bytes(len(whole), "big") if after < 1 << 8 * len(whole) else None
        for _key, row in self._reader.transaction.items(INDEX, whole, end):
            for number in row_numbers(row):
                record = self._manifest(number, prefix)
                if record is not None:
                    yield record

    def _manifest(self, number: int, prefix: str) -> Record | None:
        """Return a record if it is a manifest whose digest begins with these hex digits."""
        try:
            if not self._reader.digest_of(number).hex().startswith(prefix):
                return None
            record = self._reader.read(number)
        except UNREADABLE:
            # A damaged record cannot be shown to be what was asked for; a reference that names its
            # run and sequence still reports the damage.
            return None
        return record if record.payload.startswith(_MANIFEST_HEAD) else None

    def _place_of(self, digest: Digest) -> Listed | None:
        return self._origin(digest) or next(self._scan(str(digest)), None)

    def _origin(self, digest: Digest) -> Listed | None:
        """Return where a checkpoint was first saved, if that can be read and still lists it."""
        number = self._reader.find(digest)
        if number is None:
            return None
        try:
            record = self._reader.read(number)
        except UNREADABLE:
            return None  # Whoever reads the checkpoint, wherever it is listed, meets the damage.
        if not record.payload.startswith(_MANIFEST_HEAD):
            return None
        manifest = self._opener.read(record)
        run = self._catalogue.run(manifest.origin_run)
        if run is None:
            return None
        row = self._catalogue.checkpoint(run.number, manifest.origin_sequence)
        if row is None or row.id != digest or row.hidden:
            return None
        return Listed(run.name, manifest.origin_sequence, row)

    def _scan(self, prefix: str) -> Iterator[Listed]:
        """Yield all listings of checkpoints whose id begins with these hex digits."""
        for run in self._catalogue.runs():
            for sequence, row in self._catalogue.newest(run.number):
                if row.id.hex().startswith(prefix) and not row.hidden:
                    yield Listed(run.name, sequence, row)
        for tag in self._catalogue.tags():
            if tag.id.hex().startswith(prefix):
                yield self.tag(tag.name)

    def _ancestor(self, listed: Listed, count: int, ref: str) -> Listed:
        run = self._catalogue.run(listed.run)
        for _ in range(count):
            sequence = listed.row.parent
            if sequence and run is not None and run.name == listed.run:
                row = self._catalogue.checkpoint(run.number, sequence)
                if row is None or row.hidden:
                    raise NotFoundError(
                        f"{ref!r}: the ancestor {listed.run}@{sequence} was forgotten"
                    )
                listed = Listed(listed.run, sequence, row)
                continue
            parent = self.manifest(listed).parent
            if parent is None:
                raise NotFoundError(
                    f"{ref!r}: {listed.run}@{listed.sequence} is the first; it has no ancestor"
                )
            try:
                listed = self._by_id(parent)
            except NotFoundError as error:
                raise NotFoundError(
                    f"{ref!r}: the ancestor {parent.short} was forgotten"
                ) from error
            run = self._catalogue.run(listed.run)
        return listed

    def manifest(self, listed: Listed) -> Manifest:
        """Return the manifest of a listing."""
        return self._opener.read(self._reader.read_as(listed.row.record, listed.row.id))
