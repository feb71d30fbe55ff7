from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from cas.digest import Digest
from cas.errors import (
    CorruptObjectError,
    InvalidInputError,
    LimitError,
    UnsupportedFormatError,
)
from cas.objects import MAX_LINKS, MAX_PAYLOAD_BYTES, Object, frame_address

links = st.lists(st.binary(min_size=32, max_size=32).map(Digest), max_size=5, unique=True).map(
    tuple
)
objects = st.builds(Object, links, st.binary(max_size=100))


def digests(count: int) -> tuple[Digest, ...]:
    return tuple(Digest.of(number.to_bytes(4, "big")) for number in range(count))


@given(objects)
def test_the_address_is_of_the_frame(item: Object) -> None:
    frame = item.frame()
    assert frame == b"".join(
        (b"\x01", len(item.links).to_bytes(4, "big"), *item.links, item.payload)
    )
    assert item.address() == blake3(frame).digest()
    assert frame_address(iter(item.links), len(item.links), item.payload) == item.address()
    assert Object.from_frame(frame) == item


@given(objects, objects)
def test_other_objects_have_other_addresses(one: Object, other: Object) -> None:
    assert (one == other) == (one.address() == other.address())


def test_links_and_payload_cannot_be_taken_for_each_other() -> None:
    digest = Digest.of(b"child")
    assert Object((digest,), b"").address() != Object((), bytes(digest)).address()
    one, other = digests(2)
    assert Object((one, other), b"").address() != Object((other, one), b"").address()


def test_known_addresses() -> None:
    leaf = Object((), b"payload")
    assert leaf.address() == blake3(b"\x01\x00\x00\x00\x00payload").digest()
    parent = Object((leaf.address(),), b"")
    assert parent.address() == blake3(b"\x01\x00\x00\x00\x01" + leaf.address()).digest()


def test_limits_are_inclusive() -> None:
    most = digests(MAX_LINKS + 1)
    assert Object.from_frame(Object(most[:-1], b"x").frame()).links == most[:-1]
    with pytest.raises(LimitError, match="at most 4096 links"):
        Object(most, b"x")
    assert len(Object((), bytes(MAX_PAYLOAD_BYTES)).frame()) == MAX_PAYLOAD_BYTES + 5
    with pytest.raises(LimitError, match="payload is at most"):
        Object((), bytes(MAX_PAYLOAD_BYTES + 1))


def test_links_are_distinct() -> None:
    digest = Digest.of(b"child")
    with pytest.raises(InvalidInputError, match="distinct"):
        Object((digest, digest), b"")


def test_a_newer_frame_is_refused_as_such() -> None:
    frame = bytearray(Object(digests(1), b"x").frame())
    for version in (0, 2, 255):
        frame[0] = version
        with pytest.raises(UnsupportedFormatError, match="upgrade"):
            Object.from_frame(bytes(frame))


FRAMES = {
    "nothing": b"",
    "half a header": b"\x01\x00\x00\x00",
    "links that are not there": b"\x01\x00\x00\x00\x01" + bytes(31),
    "too many links": b"\x01\x00\x01\x00\x00" + bytes(32 * 70_000),
    "4 G links": b"\x01\xff\xff\xff\xff" + bytes(100),
    "a link twice": b"\x01\x00\x00\x00\x02" + bytes(64),
    "too long a payload": b"\x01\x00\x00\x00\x00" + bytes(MAX_PAYLOAD_BYTES + 1),
}


@pytest.mark.parametrize("name", FRAMES)
def test_bytes_that_are_no_frame_are_damage(name: str) -> None:
    with pytest.raises(CorruptObjectError):
        Object.from_frame(FRAMES[name])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    try:
        item = Object.from_frame(data)
    except (CorruptObjectError, UnsupportedFormatError):
        return
    assert item.frame() == data
