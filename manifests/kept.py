"""Values that restores of this process decoded lately, kept in memory to be copied by the next.

``cas.kept`` spares a restore fetching, decompressing and hashing what the last one read. What is
left is decoding, and of a growing state nearly all of that is the same each time: this keeps its
values too, and a restore copies them, which takes a tenth.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from cas.closure import Closure
from cas.kept import KeptByNumber
from cas.mutex import Mutex
from manifests.forms import Forms
from manifests.reading import StoreReader
from manifests.registry import Registry
from manifests.template import Template, Watched

__all__ = ["KeptValue", "KeptValues", "Restoring"]

_MOST_DECODED: Final = 65_536
"""How many objects are known to have been decoded once, at most."""
_LARGEST: Final = 4 * 1024 * 1024
"""Payload bytes of what is kept as one. When a list grows, it is what holds its last item that is
decoded again; in smaller pieces, copying takes longer."""


class KeptValue(NamedTuple):
    """The value of a verified object and of all below it; see ``together.MadeValue``."""

    digest: bytes
    template: Template
    size: int
    depth: int
    height: int


class KeptValues(KeptByNumber[KeptValue]):
    """Values by the number of their object, as the classes of one registry make them.

    A value is kept when it is decoded for the second time, for making a template of it takes half
    as long as decoding. Large ones are kept in pieces: the runs of a list, say, of which all but
    the last stay as they are when it grows.
    """

    def __init__(self, registry: Registry, most_bytes: int) -> None:
        """Keep at most about ``most_bytes``; 0 keeps nothing."""
        super().__init__(most_bytes)
        self.registry = registry
        self._revision = registry.revision
        self._once = Mutex()
        self._decoded_in = -1
        self._decoded: dict[int, None] = {}
        self._refused: set[int] = set()

    def of(self, generation: int, numbers: Iterable[int]) -> dict[int, KeptValue]:
        """Return what is kept of those objects."""
        revision = self.registry.revision
        if self._revision != revision:
            self.clear()
            self._revision = revision
        found = super().of(generation, numbers)
        return {} if self._is_outdated(revision) else found

    def size_of(self, items: Iterable[KeptValue]) -> int:
        """Return how many bytes some values take, about."""
        return sum([item.size for item in items])

    def choose(self, below: Closure, roots: Sequence[int]) -> Collection[int]:
        """Return which of the objects that were read below some roots are to be kept now."""
        if not self.most_bytes:
            return ()
        with self._once:
            if self._decoded_in != below.generation:
                self._decoded_in, self._decoded, self._refused = below.generation, {}, set()
            again = (below.records.keys() & self._decoded.keys()) - self._refused
            # What falls out of memory has to be decoded twice to be kept again: where more states
            # take turns than fit, half as many templates are made for nothing.
            self._decoded.update(dict.fromkeys(below.records))
            for number in again:
                del self._decoded[number]
            if len(self._decoded) > _MOST_DECODED:
                self._decoded, self._refused = {}, set()
        most = min(_LARGEST, self.most_bytes // 8)
        return _largest(below, roots, again, most) if again else ()

    def add(
        self, below: Closure, number: int, value: Any, depth: int, height: int, revision: int
    ) -> KeptValue | None:
        """Keep the value of an object, which nobody may use from now on; None if it is not copied.

        Then it is still the caller's. ``revision`` is that of the registry before it was decoded.
        """
        template = Template.of(value, self.registry)
        if template is None:
            with self._once:
                self._refused.add(number)
            return None
        size = template.size + sum(_payload_sizes(below, number))
        made = KeptValue(below.records[number].digest, template, size, depth, height)
        self.keep(below.generation, {number: made})
        self._is_outdated(revision)
        return made

    def _is_outdated(self, revision: int) -> bool:
        """Whether a class was registered since that revision. Then what was kept since is dropped.

        Asked *after* something was kept: whoever asks for it later drops it, or it is dropped here.
        """
        outdated = self.registry.revision != revision
        if outdated:
            self.clear()
        return outdated


class Restoring:
    """One restore that uses kept values and keeps others; the ``Keeper`` of its decoder.

    Attributes:
        watched: What has to be watched below the items of lists that were copied.
    """

    def __init__(self, kept: KeptValues) -> None:
        self._kept = kept
        self._revision = kept.registry.revision
        # Of a state that does not fit into memory, the same part is kept each time. Were the rest
        # kept as well, it would drive out that part, and everything be kept anew at each restore.
        self._room = kept.most_bytes // 2
        self.watched: Watched = []

    def forms(self, reader: StoreReader) -> Forms:
        """Return the forms to restore with."""
        kept = self._kept
        return Forms(kept.registry, reader.load, partial(reader.gather, made=kept), self)

    def chosen(self, below: Closure, roots: Sequence[int]) -> Collection[int]:
        """Return which of the objects that were read below some roots are to be kept now."""
        self._room -= self._kept.size_of(below.made.values())
        return self._kept.choose(below, roots) if self._room > 0 else ()

    def keep_value(self, below: Closure, name: int, value: Any, depth: int, height: int) -> Any:
        """Keep the value of an object if it can be copied, and then return a copy of it."""
        if self._room <= 0:
            return value
        made = self._kept.add(below, name, value, depth, height, self._revision)
        if made is None:
            return value
        self._room -= made.size
        return self.copy(made)

    def copy(self, made: KeptValue) -> Any:
        """Return a copy of a kept value."""
        return made.template.copy(self.watched)


def _largest(
    below: Closure, roots: Iterable[int], among: Collection[int], most_bytes: int
) -> set[int]:
    """Return the topmost objects below some roots that are among some and not too large."""
    found: set[int] = set()
    path = [*roots]
    seen = set(path)
    while path:
        number = path.pop()
        record = below.records.get(number)
        if record is None:
            continue
        if number in among and _is_small(below, number, most_bytes):
            found.add(number)
            continue
        path += [link for link in record.links if link not in seen]
        seen.update(record.links)
    return found


def _is_small(below: Closure, number: int, most_bytes: int) -> bool:
    """Whether an object with all below it takes ``most_bytes`` of payload at most."""
    size = 0
    for payload in _payload_sizes(below, number):
        size += payload
        if size > most_bytes:
            return False
    return True


def _payload_sizes(below: Closure, number: int) -> Iterator[int]:
    """Yield the sizes of the payloads below an object, and of values that are kept already."""
    path = [number]
    while path:
        number = path.pop()
        record = below.records.get(number)
        if record is not None:
            yield len(record.payload)
            path.extend(record.links)
        elif number in below.made:
            yield below.made[number].size
