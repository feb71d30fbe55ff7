"""Another writer of values: after sections 2, 6 and 7 of docs/format.md, with nothing of Hive.

It computes the address of a value, so that what Hive writes can be compared with what the page
says. It takes what ``another_reader`` returns.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import cbor2
from blake3 import blake3
from pyfastcdc import FastCDC

from tests.manifests.another_reader import Array, Registered

__all__ = ["DEFAULTS", "Writer"]

DEFAULTS: Mapping[str, int] = {
    **{"inline_item": 64, "whole_dict": 4_096, "inline_entry": 96, "short_items": 32},
    **{"run_least": 4, "run_target": 32, "entry_target": 8, "run_most": 128, "run_bytes": 8_192},
    **{"whole_text": 8_192, "chunk_least": 1_024, "chunk_average": 2_048, "chunk_most": 16_384},
    **{"long_text": 1 << 20, "long_chunk_least": 8_192},
    **{"long_chunk_average": 16_384, "long_chunk_most": 65_536},
}


class Link(bytes):
    """The digest of an object, where a payload will have tag 6 and its index."""


Piece = list[bytes]
"""An encoded value: bytes and links in turn."""


class Child(NamedTuple):
    """A node or leaf below a node: how much it holds, and what decides where a run ends."""

    link: Link
    held: int
    token: bytes
    first_key: bytes = b""


def digest_of(data: bytes) -> bytes:
    return blake3(data).digest()


def head(major: int, argument: int) -> bytes:
    data = cbor2.dumps(argument)
    return bytes([data[0] | major << 5]) + data[1:]


def array(pieces: Sequence[Piece]) -> Piece:
    return [head(4, len(pieces)), *(part for piece in pieces for part in piece)]


def tagged(tag: int, piece: Piece) -> Piece:
    return [head(6, tag), *piece]


def size_of(piece: Piece) -> int:
    return sum(3 if isinstance(part, Link) else len(part) for part in piece)


def link_to(piece: Piece) -> Link:
    """Make an object of a piece and return the link to it."""
    indexes: dict[bytes, int] = {}
    payload = b""
    for part in piece:
        if isinstance(part, Link):
            payload += head(6, 6) + head(0, indexes.setdefault(part, len(indexes)))
        else:
            payload += part
    return Link(digest_of(struct.pack(">BI", 1, len(indexes)) + b"".join(indexes) + payload))


class Writer:
    """Encodes values with the parameters of a store."""

    def __init__(self, parameters: Mapping[str, int] = DEFAULTS) -> None:
        self._sizes = parameters

    def address(self, value: Any, *, state: bool = False) -> bytes:
        """Return the address of a value, or of one that is the root of a state."""
        return bytes(link_to(self._value(value, root=state)))

    def _placed(self, piece: Piece, most_bytes: int) -> Piece:
        return piece if size_of(piece) <= most_bytes else [link_to(piece)]

    def _value(self, value: Any, *, root: bool = False, in_key: bool = False) -> Piece:
        match value:
            case None | bool() | int() | float():
                return [cbor2.dumps(value)]
            case str():
                whole = cbor2.dumps(value)
                if in_key or len(whole) <= self._sizes["whole_text"]:
                    return [whole]
                return tagged(14, array([[b"\0"], self._chunks(value.encode())]))
            case bytes():
                return self._bytes(value, in_key=in_key)
            case bytearray():
                return tagged(11, self._bytes(bytes(value), in_key=in_key))
            case Array(dtype=dtype, shape=shape, fortran=fortran, data=data):
                form = dtype, None if shape is None else [*shape], fortran
                fields = [[cbor2.dumps(each)] for each in form]
                return tagged(15, array([*fields, self._bytes(data, in_key=in_key)]))
            case list():
                return self._list([self._value(each, in_key=in_key) for each in value], in_key)
            case tuple():
                return tagged(7, self._value([*value], in_key=in_key))
            case set() | frozenset():
                members = [[data] for data in sorted(map(self._key, value))]
                return tagged(8 if isinstance(value, set) else 9, self._list(members, in_key))
            case dict():
                return self._dict(value, root=root, in_key=in_key)
            case Registered():
                known = [cbor2.dumps(value.name)], [cbor2.dumps(value.version)]
                stored = self._value(value.fields, root=root, in_key=in_key)
                return tagged(12, array([*known, stored]))
        return [head(6, 14) + cbor2.dumps(scalar(value))]

    def _key(self, key: Any) -> bytes:
        return b"".join(self._value(key, in_key=True))

    def _list(self, pieces: list[Piece], in_key: bool) -> Piece:
        if in_key:
            return array(pieces)
        placed = [self._placed(piece, self._sizes["inline_item"]) for piece in pieces]
        if len(placed) <= self._sizes["short_items"]:
            return array(placed)
        tokens = [
            piece[0]
            if len(piece) == 1 and isinstance(piece[0], Link)
            else digest_of(b"".join(piece))
            for piece in placed
        ]
        children = []
        for start, stop in self._runs(tokens, map(size_of, placed), 0, "run_target"):
            link = link_to(array(placed[start:stop]))
            children.append(Child(link, stop - start, link))
        return self._tree(0, children)

    def _dict(self, items: dict[Any, Any], *, root: bool, in_key: bool) -> Piece:
        keys = [self._key(key) for key in items]
        values = [self._value(value, in_key=in_key) for value in items.values()]
        is_short = len(keys) <= self._sizes["short_items"]
        is_short = is_short and sum(map(len, keys)) <= self._sizes["run_bytes"]
        size = sum(map(len, keys)) + sum(map(size_of, values))
        if not in_key and (root or not is_short or size > self._sizes["whole_dict"]):
            limit = self._sizes["inline_item" if root else "inline_entry"]
            values = [self._placed(value, limit) for value in values]
        if not in_key and not is_short:
            return self._large_dict(dict(zip(keys, values, strict=True)))
        flat = [part for key, value in zip(keys, values, strict=True) for part in (key, *value)]
        if all(isinstance(key, str) for key in items):
            return [head(5, len(keys)), *flat]
        return tagged(10, [head(4, 2 * len(keys)), *flat])

    def _large_dict(self, items: dict[bytes, Piece]) -> Piece:
        keys = sorted(items)
        tokens = [digest_of(key) for key in keys]
        children = []
        for start, stop in self._runs(tokens, map(len, keys), 0, "entry_target"):
            pairs = [piece for key in keys[start:stop] for piece in ([key], items[key])]
            link = link_to(array(pairs))
            children.append(Child(link, stop - start, tokens[start], keys[start]))
        order = [cbor2.dumps(None)] if [*items] == keys else self._list([[k] for k in items], False)
        return tagged(16, array([self._tree(2, children), order]))

    def _bytes(self, data: bytes, *, in_key: bool) -> Piece:
        if in_key or len(data) <= self._sizes["whole_text"]:
            return [cbor2.dumps(data)]
        return self._chunks(data)

    def _chunks(self, data: bytes) -> Piece:
        kind = "long_chunk" if len(data) > self._sizes["long_text"] else "chunk"
        least, average, most = (self._sizes[f"{kind}_{s}"] for s in ("least", "average", "most"))
        cutter = FastCDC(
            avg_size=average, min_size=least, max_size=most, normalized_chunking=1, seed=0
        )
        children = []
        for chunk in cutter.cut_buf(data):
            link = link_to([cbor2.dumps(data[chunk.offset : chunk.offset + chunk.length])])
            children.append(Child(link, chunk.length, link))
        return self._tree(1, children)

    def _runs(
        self, tokens: Sequence[bytes], sizes: Iterable[int], level: int, target: str
    ) -> list[tuple[int, int]]:
        """Return where runs of items begin and end."""
        at = 4 * min(level, 7)
        ends, start, size = [], 0, 0
        for end, (token, each) in enumerate(zip(tokens, sizes, strict=True), 1):
            size += each
            chosen = int.from_bytes(token[at : at + 4], "big") < 2**32 // self._sizes[target]
            is_full = end - start == self._sizes["run_most"] or size >= self._sizes["run_bytes"]
            if end - start >= self._sizes["run_least"] and (chosen or is_full):
                ends.append((start, end))
                start, size = end, 0
        return ends if start == len(tokens) else [*ends, (start, len(tokens))]

    def _tree(self, kind: int, children: list[Child]) -> Piece:
        """Return the top node over the children, with as many levels as it needs."""
        target = "entry_target" if kind == 2 else "run_target"
        level = 1
        while len(children) > self._sizes["short_items"]:
            sizes = [3 + len(child.first_key) for child in children]
            above = []
            for start, stop in self._runs([c.token for c in children], sizes, level, target):
                run = children[start:stop]
                link = link_to(node(kind, level, run))
                token = run[0].token if kind == 2 else link
                above.append(Child(link, sum(c.held for c in run), token, run[0].first_key))
            children, level = above, level + 1
        return node(kind, level, children)


def node(kind: int, level: int, children: list[Child]) -> Piece:
    counts = [cbor2.dumps([child.held for child in children])]
    links = array([[child.link] for child in children])
    keys = [[cbor2.dumps([child.first_key for child in children])]] if kind == 2 else []
    return tagged(13, array([[head(0, kind)], [head(0, level)], counts, links, *keys]))


def scalar(value: Any) -> list[Any]:
    """Return [code, content, ...]."""
    match value:
        case complex():
            return [1, value.real, value.imag]
        case Decimal():
            return [2, str(value)]
        case uuid.UUID():
            return [3, value.bytes]
        case dt.datetime():
            return [4, value.year, value.month, value.day, *clock(value)]
        case dt.date():
            return [5, value.year, value.month, value.day]
        case dt.time():
            return [6, *clock(value)]
        case dt.timedelta():
            return [7, value.days, value.seconds, value.microseconds]
        case PosixPath() | PurePosixPath() | PureWindowsPath():
            kinds = [PosixPath, PurePosixPath, None, PureWindowsPath]
            return [8, kinds.index(type(value)), str(value)]
        case dt.timezone():
            return [9, *zone(value)]
        case zoneinfo.ZoneInfo():
            return [10, value.key]
    raise TypeError(type(value).__name__)


def clock(value: dt.datetime | dt.time) -> list[Any]:
    numbers = [value.hour, value.minute, value.second, value.microsecond, value.fold]
    match value.tzinfo:
        case zoneinfo.ZoneInfo(key=key):
            return [*numbers, key]
        case dt.timezone():
            return [*numbers, zone(value.tzinfo)]
    return [*numbers, None]


def zone(value: dt.timezone) -> list[Any]:
    offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # as pickle calls it
    return [offset // dt.timedelta(microseconds=1), *name]
