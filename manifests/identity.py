"""Whether two sequences hold the very same objects, by the addresses of all of them at once.

``map(operator.is_, ...)`` is a call for each pair: 20 to 60 ns, most of what it took to see that
10,000 messages were as before. A tuple keeps the addresses of its items side by side, so two of
them are compared as bytes, in a tenth of the time. Whoever keeps addresses must keep the objects
too, or another one may be made at the same address.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import compress, count
from struct import calcsize, pack
from typing import Any, Final

__all__ = ["addresses", "differing", "same_end", "same_objects", "same_start"]

_FEW: Final = 64
"""Up to so many items a call for each of them takes no longer."""
_BLOCK: Final = 512
"""Items compared at once where each difference has to be found."""


def _asked(objects: tuple[Any, ...]) -> Sequence[int]:
    """Return the addresses of some objects, asking for each: what any interpreter can do."""
    return tuple(map(id, objects))


def _reader() -> tuple[Callable[[tuple[Any, ...]], Sequence[int]], int]:
    """Return a function that gives the addresses of the items of a tuple, and how long each is.

    What is read lies within the tuple: ``__basicsize__`` is where its items begin, ``__itemsize__``
    what each of them takes. That the addresses are there is CPython's way, so it is tried out
    before it is relied on; where it is another way, all are asked for.
    """
    begin, size = tuple.__basicsize__, tuple.__itemsize__
    if sys.implementation.name != "cpython" or size != calcsize("P"):
        return _asked, 1
    try:
        from ctypes import string_at  # missing or forbidden on some systems
    except (ImportError, MemoryError):
        return _asked, 1

    def read(objects: tuple[Any, ...]) -> bytes:
        return string_at(id(objects) + begin, size * len(objects))

    probe: tuple[Any, ...] = (None, [], "", object())
    works = read(probe) == pack(f"{len(probe)}P", *map(id, probe))
    return (read, size) if works else (_asked, 1)


_addresses, _SIZE = _reader()


def addresses(objects: Iterable[Any]) -> Sequence[int]:
    """Return the addresses of some objects, in their order, to be compared with others."""
    # Also of a subclass, which may give others when it is iterated, a plain tuple is made.
    return _addresses(objects if type(objects) is tuple else tuple(objects))


def same_objects(container: Collection[Any], held: Sequence[Any]) -> bool:
    """Whether a container holds these very objects in this order."""
    if len(container) != len(held):
        return False
    if len(held) <= _FEW:
        return all(map(operator.is_, container, held))
    return addresses(container) == addresses(held)


def same_start(old: Sequence[Any], new: Sequence[Any]) -> int:
    """Return how many objects two sequences have in common at their beginning."""
    shorter = min(len(old), len(new))
    if shorter <= _FEW or old[0] is not new[0]:
        return next(compress(count(), map(operator.is_not, old, new)), shorter)
    before, now = addresses(old), addresses(new)
    start, stop = 0, shorter
    while start < stop:  # [0, start) is the same; [0, stop] is not, unless it is everything
        middle = (start + stop + 1) // 2
        part = slice(_SIZE * start, _SIZE * middle)
        if before[part] == now[part]:
            start = middle
        else:
            stop = middle - 1
    return start


def same_end(old: Sequence[Any], new: Sequence[Any]) -> int:
    """Return how many objects two sequences have in common at their end."""
    return same_start(old[::-1], new[::-1])


def differing(old: Sequence[Any], new: Sequence[Any]) -> Iterator[int]:
    """Yield the places, ascending, at which two sequences of one length hold different objects."""
    if len(new) <= _FEW:
        yield from compress(count(), map(operator.is_not, old, new))
        return
    before, now = addresses(old), addresses(new)
    if before == now:
        return
    for start in range(0, len(new), _BLOCK):
        stop = start + _BLOCK
        part = slice(_SIZE * start, _SIZE * stop)
        if before[part] != now[part]:
            pairs = map(operator.is_not, old[start:stop], new[start:stop])
            yield from compress(count(start), pairs)
