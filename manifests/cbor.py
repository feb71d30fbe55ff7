"""The CBOR of stored values: heads written by hand, a closed set of tags, strict decoding.

Containers are assembled from the bytes of their parts, so an item is encoded once however often
its parent changes, and stored bytes do not follow the encoder library from release to release
(cbor2 has changed its output between releases; golden vectors pin ours).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Final

import cbor2

from cas.errors import CorruptObjectError
from cas.shape import BUILT_IN_TAGS

__all__ = [
    "ARRAY",
    "BYTEARRAY",
    "FROZENSET",
    "LINK",
    "MANIFEST",
    "NODE",
    "NULL",
    "PAIRS",
    "REGISTERED",
    "SCALAR",
    "SET",
    "TREE_DICT",
    "TUPLE",
    "TagDecoder",
    "array_head",
    "bytes_head",
    "encode_int",
    "encode_text",
    "loads",
    "loads_all",
    "map_head",
    "tag_decoders",
    "tag_head",
]

# Own tags, all in the one-byte range (6..20): links are the most frequent bytes of a state.
LINK: Final = 6
TUPLE: Final = 7
SET: Final = 8
FROZENSET: Final = 9
PAIRS: Final = 10
BYTEARRAY: Final = 11
REGISTERED: Final = 12
NODE: Final = 13
SCALAR: Final = 14
ARRAY: Final = 15
TREE_DICT: Final = 16
MANIFEST: Final = 20

NULL: Final = b"\xf6"
"""An encoded None."""

_MAX_CBOR_DEPTH: Final = 400

# ``cbor2.loads`` ignores bytes behind the item. Asking a decoder object for its position costs
# 1.2 us an object, more than decoding a short message; so each payload is followed by an
# unguessable item: whatever stands behind the payload's own item cannot be that one.
_END: Final = os.urandom(16)
_ENCODED_END: Final = b"\x50" + _END

# A tag around each payload whose value is to be told at once. Unguessable too: a payload that held
# it could pass off a part of itself as the next object's value.
_DONE: Final = int.from_bytes(b"\xff" + os.urandom(7), "big")
_DONE_HEAD: Final = b"\xdb" + _DONE.to_bytes(8, "big")

# cbor2 returns objects of its own for "undefined" and for simple values without a meaning. Few
# payloads hold a byte that could be the head of one, and those are looked at closely: a run of
# numbers, heads and short strings at a time, so that a list of floats costs little.
_NEVER_ODD: Final = bytes(set(range(256)) - {*range(0xE0, 0xF4), 0xF7, 0xF8})
_SKIMMED_AT: Final = 1_024
"""Payloads over this size are skimmed at once: most of them is one long string."""
_NOT_LONG: Final = re.compile(
    b"(?:"
    rb"[\x00-\x17\x20-\x37\x40\x60\x80-\x97\xa0-\xb7\xc0-\xd7\xf4-\xf6]"
    rb"|[\x18\x38\x98\xb8\xd8]."
    rb"|[\x19\x39\x99\xb9\xd9\xf9].{2}"
    rb"|[\x1a\x3a\x9a\xba\xda\xfa].{4}"
    rb"|[\x1b\x3b\x9b\xbb\xdb\xfb].{8}"
    + b"".join(b"|[\\x%02x\\x%02x].{%d}" % (0x40 + n, 0x60 + n, n) for n in range(1, 24))
    + b")*+",
    re.DOTALL,
)
_ATOMS: Final = frozenset((str, bytes, bytearray, int, float, bool, type(None)))
_SEQUENCES: Final = frozenset((list, tuple, set, frozenset))
_BUILTIN: Final = _ATOMS | _SEQUENCES | {dict}
_LENGTH_BYTES: Final = {
    major << 5 | 24 + power: 1 << power for major in (2, 3) for power in range(4)
}

TagDecoder = Callable[[Any, bool], Any]


def _head(major: int, argument: int) -> bytes:
    major <<= 5
    if argument < 24:
        return bytes((major | argument,))
    if argument < 0x100:
        return bytes((major | 24, argument))
    if argument < 0x1_0000:
        return bytes((major | 25,)) + argument.to_bytes(2, "big")
    if argument < 0x1_0000_0000:
        return bytes((major | 26,)) + argument.to_bytes(4, "big")
    return bytes((major | 27,)) + argument.to_bytes(8, "big")


_SHORT: Final = [[_head(major, argument) for argument in range(256)] for major in range(8)]


def bytes_head(size: int) -> bytes:
    """Return the head of a byte string of ``size`` bytes."""
    return _SHORT[2][size] if size < 256 else _head(2, size)


def array_head(count: int) -> bytes:
    """Return the head of an array of ``count`` items."""
    return _SHORT[4][count] if count < 256 else _head(4, count)


def map_head(count: int) -> bytes:
    """Return the head of a map of ``count`` pairs."""
    return _SHORT[5][count] if count < 256 else _head(5, count)


def tag_head(tag: int) -> bytes:
    """Return the head of a tag (below 256)."""
    return _SHORT[6][tag]


def encode_int(number: int) -> bytes:
    """Return an integer of any size, in its shortest form (tags 2 and 3 beyond 64 bits)."""
    if 0 <= number < 256:
        return _SHORT[0][number]
    return cbor2.dumps(number)


def encode_text(text: str) -> bytes:
    """Return a text string. A lone surrogate raises ``UnicodeEncodeError``."""
    data = text.encode()
    size = len(data)
    return (_SHORT[3][size] if size < 256 else _head(3, size)) + data


_DAMAGE: Final = (
    cbor2.CBORError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
)
"""What contents that no encoder writes make the library and the tag decoders raise."""


def _refuse(_value: Any, _immutable: bool) -> Any:
    raise CorruptObjectError("the object uses a CBOR tag that no stored value has")


def _refuse_unknown(_tag: cbor2.CBORTag, _immutable: bool) -> Any:
    raise CorruptObjectError("the object uses a CBOR tag that no stored value has")


def tag_decoders(own: Mapping[int, TagDecoder]) -> dict[int, TagDecoder]:
    """Return the complete, closed table of tag decoders: ``own`` ones, all others refused."""
    return {**dict.fromkeys(BUILT_IN_TAGS, _refuse), **own}


def _are_builtin(values: list[Any]) -> bool:
    """Whether decoded values consist of Python's own types, among which no odd value is.

    All of one level are looked at in one go, which takes a fraction of the time of decoding them.
    """
    while values:
        kinds = {*map(type, values)}
        if not kinds <= _BUILTIN:
            return False
        if kinds <= _ATOMS:
            break
        dicts = [value for value in values if type(value) is dict]
        lists = [value for value in values if type(value) in _SEQUENCES]
        values = list(
            chain(
                chain.from_iterable(dicts),
                chain.from_iterable(map(dict.values, dicts)),
                chain.from_iterable(lists),
            )
        )
    return True


def _are_plain(payloads: Sequence[bytes]) -> bool:
    """Whether well-formed CBOR items have no simple values but false, true and null."""
    short = [payload for payload in payloads if len(payload) <= _SKIMMED_AT]
    if b"".join(short).translate(None, _NEVER_ODD):
        short = [payload for payload in short if payload.translate(None, _NEVER_ODD)]
    else:
        short = []
    # What begins as a string is one.
    long = [p for p in payloads if len(p) > _SKIMMED_AT and not 0x40 <= p[0] < 0x80]
    return all(map(_is_plain, short)) and all(map(_is_plain, long))


def _is_plain(payload: bytes) -> bool:
    """Skim an item as ``_are_plain`` does."""
    at = 0
    while (at := _NOT_LONG.match(payload, at).end()) < len(payload):  # type: ignore[union-attr]  # it matches
        width = _LENGTH_BYTES.get(payload[at])
        if width is None:
            return False
        start = at + 1 + width
        at = start + int.from_bytes(payload[at + 1 : start], "big")
    return True


def loads(payload: bytes, decoders: Mapping[int, TagDecoder], *, depth: int) -> Any:
    """Decode exactly one CBOR item with the tags in ``decoders`` (from ``tag_decoders``).

    Anything no encoder of this project writes is a ``CorruptObjectError``: unknown tags, trailing
    bytes, duplicate keys, keys that are neither text nor bytes, indefinite lengths, undefined.
    Nesting deeper than ``depth`` CBOR levels is a ``RecursionError``, so that the caller can decide
    whether it is too deep.
    """
    return loads_all([payload], decoders, depth=depth)[0]


def loads_all(
    payloads: Sequence[bytes],
    decoders: Mapping[int, TagDecoder],
    *,
    depth: int,
    done: Callable[[Any], None] | None = None,
) -> list[Any]:
    """Decode several payloads in one call of the library, each as ``loads`` does.

    ``done`` is called with each value as soon as it is decoded, before anything of the next one is;
    what it was called with is not returned.
    """
    if not payloads:
        return []
    head = array_head(2 * len(payloads))
    parts: Iterable[tuple[bytes, ...]] = zip(payloads, repeat(_ENCODED_END))
    if done is not None:
        report = done
        decoders = {**decoders, _DONE: lambda value, _immutable: report(value)}
        parts = zip(repeat(_DONE_HEAD), payloads, repeat(_ENCODED_END))
    try:
        items = cbor2.loads(
            b"".join([head, *chain.from_iterable(parts)]),
            semantic_decoders=decoders,
            tag_hook=_refuse_unknown,
            max_depth=min(depth + 1 + (done is not None), _MAX_CBOR_DEPTH),
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except _DAMAGE as error:
        cause: BaseException = error
        while isinstance(cause, cbor2.CBORError) and cause.__cause__ is not None:
            cause = cause.__cause__
        if not isinstance(cause, _DAMAGE):
            # cbor2 wraps whatever a tag decoder raises: an interrupt from the keyboard, the news
            # that the file was replaced while a linked object was read.
            raise cause from cause.__cause__
        if "nesting depth" in str(error):
            raise RecursionError("nested too deeply") from None
        raise CorruptObjectError("the object's payload is not a stored value") from error
    ends = items[1::2]
    # Looked at by type first: a value in the place of an end may not like to be compared.
    if {*map(type, ends)} != {bytes} or ends.count(_END) != len(payloads):
        raise CorruptObjectError("the object's payload has bytes behind its value")
    values: list[Any] = items[::2]
    known = done is None and _are_builtin(values)
    if not known and not _are_plain(payloads):
        raise CorruptObjectError("the object uses a simple value that no stored value has")
    return values
