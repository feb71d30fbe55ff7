"""Healing: putting what a copy has in place of what is damaged, and telling what is whole then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cas.broken import BrokenRecords
from cas.digest import Digest
from cas.errors import HiveError
from cas.objects import Object
from cas.records import PackCache, RecordReader
from cas.writer import RecordWriter
from manifests.manifest import ManifestReader

__all__ = ["Healer", "Source"]


class Source(Protocol):
    """Another store, to take from what is damaged here."""

    def get(self, digest: Digest) -> Object | None:
        """Return a verified object, None if it is not there whole."""

    def find(self, run: str, sequence: int) -> Digest | None:
        """Return the id of a checkpoint, None if it is not there."""


class Healer:
    """Heals in one write transaction, and looks at the outcome in the same.

    ``broken`` is what a check found.
    """

    def __init__(
        self,
        writer: RecordWriter,
        broken: BrokenRecords,
        source: Source | None,
        wanted: Iterable[Digest],
        *,
        anew: bool = False,
    ) -> None:
        """Take the damaged parts of the ``wanted`` checkpoints from the source, if it has them.

        Records that are missing are stored again under their numbers, which the index knows. With
        ``anew`` it does not, and whatever needs them is stored anew as well.
        """
        self.broken = broken
        self.source = source
        self.objects = 0
        self._writer = writer
        self._whole: dict[int, bool] = {}
        writer.damaged.update(number for number in broken if anew or broken.is_damaged(number))
        for digest in sorted(wanted) if source is not None else ():
            self._take(digest)
        writer.flush()
        self.reader = RecordReader(writer.writing, PackCache(), set())

    def _take(self, root: Digest) -> None:
        """Take the damaged part of a checkpoint from the source, if all of it is there."""
        taken: dict[Digest, Object] = {}
        stack = [root]
        while stack:
            digest = stack.pop()
            if digest in taken:
                continue
            number = self._writer.find(digest)
            if number is not None and number not in self.broken:
                continue
            if number is not None and self.broken.is_damaged(number):
                self._writer.damaged.add(number)  # of a pack that cannot be read
            item = None if self.source is None else self.source.get(digest)
            if item is None:
                return
            taken[digest] = item
            stack.extend(item.links)
        for digest in _children_first(taken):
            self._writer.put(digest, taken[digest])
            self.objects += 1

    def is_whole(self, number: int) -> bool:
        """Whether all below a record can be restored now."""
        # Without recursion: how deep damage reaches, a damaged store says.
        stack = [number]
        while stack:
            each = stack[-1]
            if self._known_whole(each) is not None:
                stack.pop()
                continue
            links = self._sound_links(each)
            unknown = [] if links is None else [n for n in links if self._known_whole(n) is None]
            if unknown:
                stack += unknown
                continue
            self._whole[each] = links is not None and all(map(self._known_whole, links))
        return bool(self._known_whole(number))

    def _known_whole(self, number: int) -> bool | None:
        return True if number not in self.broken else self._whole.get(number)

    def _sound_links(self, number: int) -> list[int] | None:
        """Return the links of a record that is sound itself."""
        try:
            return self.reader.links_of(number) if self.reader.is_sound(number) else None
        except HiveError:
            return None

    def place(self, record: int, digest: Digest, *, manifest: bool = True) -> int | None:
        """Return the record of a whole checkpoint, or other value: the one known, or a new one."""
        reader = self.reader
        for number in (record, reader.find(digest)):
            if number is None or not self.is_whole(number):
                continue
            try:
                found = reader.read_as(number, digest)
                if manifest:
                    ManifestReader(reader.read_all).read(found)
            except HiveError:
                continue
            return number
        return None


def _children_first(items: dict[Digest, Object]) -> list[Digest]:
    order: dict[Digest, None] = {}
    stack = [(digest, False) for digest in items]
    while stack:
        digest, is_done = stack.pop()
        if digest in order or digest not in items:
            continue
        if is_done:
            order[digest] = None
        else:
            stack.append((digest, True))
            stack.extend((link, False) for link in items[digest].links)
    return list(order)
