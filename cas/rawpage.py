"""The layout of LMDB's pages, for those who read them with plain reads (LMDB 0.9, 64 bits).

LMDB checks nothing of what a page says. So whoever looks at a file before LMDB does, or where LMDB
cannot, reads the pages here, and every number in them may be wrong.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = [
    "BIG",
    "BRANCH",
    "DEEPEST",
    "FIRST_PAGE",
    "FREE_AT",
    "HEADER",
    "INTEGER_KEYS",
    "LEAF",
    "MAIN_AT",
    "META_BYTES",
    "NODE",
    "NO_PAGE",
    "OVERFLOW",
    "PAGES",
    "PAGES_AT",
    "TABLE",
    "TREE",
    "WORD",
    "DamagedPageError",
    "RawNode",
    "branch_fits",
    "branch_nodes",
    "even",
    "leaf_nodes",
    "loose_nodes",
    "page_places",
]

NO_PAGE: Final = (1 << 64) - 1
DEEPEST: Final = 32
FIRST_PAGE: Final = 2
"""The pages before it are the meta pages."""

HEADER: Final = struct.Struct("=QHHHH")
"""Page number, padding, flags, and the bounds of the room between the list of places and the nodes.
Of an overflow page, the number of pages (``PAGES``, at ``PAGES_AT``) stands where the bounds do."""
NODE: Final = struct.Struct("=HHHH")
"""Two halves of a size and flags (of a branch: three parts of a page number), and the key's size.
"""
PAGES: Final = struct.Struct("=I")
PAGES_AT: Final = 12
TREE: Final = struct.Struct("=IHHQQQQQ")
"""The record of a tree: padding, flags, depth, branch, leaf and overflow pages, rows, root."""
FREE_AT: Final = 40
MAIN_AT: Final = 88
META_BYTES: Final = 152
"""Where the records of both trees stand in a meta page, and where its fields end."""

BRANCH: Final = 0x01
LEAF: Final = 0x02
OVERFLOW: Final = 0x04
BIG: Final = 0x01
TABLE: Final = 0x02
INTEGER_KEYS: Final = 0x08
WORD: Final = 8


class DamagedPageError(Exception):
    """A page is not what it must be. It never leaves ``cas``."""


class RawNode(NamedTuple):
    """A row of a leaf page.

    ``value`` is the value itself, or with the flag ``BIG`` the number of the page where it begins.
    """

    key: bytes
    flags: int
    size: int
    value: bytes


def even(place: int) -> int:
    """Return the place at which a node can begin: nodes are padded to two bytes."""
    return place + place % 2


def page_places(data: bytes, page: int, flags: int, name: str) -> list[int]:
    """Return where the nodes of a branch or leaf page stand, in the order of their keys.

    Args:
        data: The page.
        page: The number that it must have.
        flags: ``BRANCH`` or ``LEAF``.
        name: The tree, for the error.

    Raises:
        DamagedPageError: It is another page, or its list of places cannot be.
    """
    number, _, found, lower, upper = HEADER.unpack_from(data)
    if (number, found) != (page, flags):
        raise DamagedPageError(f"page {page} of {name} is another one")
    if not HEADER.size <= lower <= upper <= len(data) or lower % 2:
        raise DamagedPageError(f"page {page} of {name} has impossible bounds")
    places = memoryview(data)[HEADER.size : lower].cast("H").tolist()
    fewest = 1 if flags == LEAF else 2
    if len(places) < fewest or min(places) != upper or max(places) > len(data) - NODE.size:
        raise DamagedPageError(f"page {page} of {name} has impossible places")
    return places


def branch_fits(data: bytes, places: list[int]) -> bool:
    """Whether the nodes of a branch page, at ``places`` in ascending order, fill it exactly."""
    for at, end in zip(places, [*places[1:], len(data)], strict=True):
        if even(at + NODE.size + NODE.unpack_from(data, at)[3]) != end:
            return False
    return True


def branch_nodes(data: bytes, page: int, name: str) -> list[tuple[bytes, int]]:
    """Return (key, page below) of a branch page's nodes; the first key does not count.

    Raises:
        DamagedPageError: It is no branch page, or not in order.
    """
    places = page_places(data, page, BRANCH, name)
    if not branch_fits(data, sorted(places)):
        raise DamagedPageError(f"page {page} of {name} has rows that do not fit it")
    nodes = []
    for at in places:
        low, middle, high, key_bytes = NODE.unpack_from(data, at)
        key = data[at + NODE.size : at + NODE.size + key_bytes]
        nodes.append((key, low | middle << 16 | high << 32))
    return nodes


def leaf_nodes(data: bytes, page: int, name: str) -> list[RawNode]:
    """Return the rows of a leaf page that is filled by them exactly.

    Raises:
        DamagedPageError: It is no leaf page, or they do not fit it.
    """
    places = page_places(data, page, LEAF, name)
    ends = dict(zip(sorted(places), [*sorted(places)[1:], len(data)], strict=False))
    nodes = []
    for at in places:
        node = _node(data, at)
        inside = at + NODE.size + len(node.key) + len(node.value) if node is not None else 0
        if node is None or even(inside) != ends[at] or len(ends) != len(places):
            raise DamagedPageError(f"page {page} of {name} has rows that do not fit it")
        nodes.append(node)
    return nodes


def loose_nodes(data: bytes) -> Iterator[RawNode]:
    """Yield whatever may be a row of a leaf page, as far as places can be told, and perhaps more.

    Its header may say anything, and so may a place. Where the rows fill the end of the page exactly
    in spite of that, it is these. Else the list of places is read to where the header says that it
    ends, and at least up to the node that stands first, which may bring up rows of before.
    """
    nodes = _filling_nodes(data)
    if nodes is not None:
        yield from nodes
        return
    lower = HEADER.unpack_from(data)[3]
    first, seen = len(data), set[int]()
    for at in range(HEADER.size, len(data) - 1, 2):
        if at >= first and not at < lower <= len(data):
            return
        (place,) = memoryview(data)[at : at + 2].cast("H")
        if not at < place <= len(data) - NODE.size or place % 2 or place in seen:
            continue
        seen.add(place)
        node = _node(data, place)
        if node is not None:
            first = min(first, place)
            yield node


def _filling_nodes(data: bytes) -> list[RawNode] | None:
    """Return the rows that fill the end of a page exactly, None if it cannot be told which do.

    They begin where the header says, and a list of places leads to them, which ends where the
    header says. One of the three may be damaged, and any other field of the header.
    """
    lower, upper = HEADER.unpack_from(data)[3:]
    listed = None
    if HEADER.size < lower <= len(data) and lower % 2 == 0:
        places = sorted(memoryview(data)[HEADER.size : lower].cast("H").tolist())
        listed = _filling(data, places[0])
        if listed is not None and list(listed) != places:
            listed = None
    standing = _filling(data, upper) if upper >= HEADER.size else None
    if listed is None or standing is None:
        found = listed or standing
    else:
        # If the list is the shorter one, either it or the beginning is wrong.
        found = None if len(listed) < len(standing) else listed
    return None if found is None else list(found.values())


def _filling(data: bytes, at: int) -> dict[int, RawNode] | None:
    """Return, by their places, the rows that stand from a place to the end of the page."""
    nodes = {}
    while at < len(data) - NODE.size:
        node = _node(data, at)
        if node is None:
            return None
        nodes[at] = node
        at = even(at + NODE.size + len(node.key) + len(node.value))
    return nodes if nodes and at == len(data) else None


def _node(data: bytes, at: int) -> RawNode | None:
    """Return the row that stands at a place of a leaf page, None if none can."""
    low, high, flags, key_bytes = NODE.unpack_from(data, at)
    size = low | high << 16
    start = at + NODE.size + key_bytes
    end = start + (WORD if flags & BIG else size)
    if not key_bytes or end > len(data) or flags not in (0, BIG, TABLE):
        return None
    return RawNode(data[at + NODE.size : start], flags, size, data[start:end])
