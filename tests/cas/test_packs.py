from __future__ import annotations

import random
import struct
import threading
from typing import Any

import cbor2
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cas.digest import Digest
from cas.errors import CorruptObjectError, HiveError, UnsupportedFormatError
from cas.packs import (
    FRAGMENT_BYTES,
    MAX_PACK_BYTES,
    MAX_PACK_LINKS,
    MAX_PACK_RECORDS,
    NewRecord,
    Pack,
)


def record(number: int, payload: bytes, links: Any = ()) -> NewRecord:
    return NewRecord(number, Digest.of(b"%d" % number + payload), list(links), payload)


@st.composite
def packs(draw: st.DrawFn) -> list[NewRecord]:
    number = draw(st.integers(1, 2**46))
    records = []
    for _ in range(draw(st.integers(1, 12))):
        payload = draw(st.binary(max_size=50)) * draw(st.sampled_from((1, 1, 40)))
        below = st.integers(1, number - 1) if number > 1 else st.nothing()
        links = draw(st.lists(below, max_size=4)) if number > 1 else []
        records.append(record(number, payload, links))
        number += draw(st.sampled_from((1, 1, 1, 2, 70_000)))
    return records


@given(packs(), st.sampled_from((40, FRAGMENT_BYTES, 1 << 31)), st.booleans())
def test_records_come_back(records: list[NewRecord], fragment: int, thorough: bool) -> None:
    rows = Pack.encode(records, fragment, thorough=thorough)
    assert all(len(row) == fragment for row in rows[:-1])
    assert 0 < len(rows[-1]) <= fragment
    assert Pack.fragments(rows[0]) == len(rows)
    pack = Pack(records[0].number, b"".join(rows))
    assert list(pack.numbers) == [record.number for record in records]
    for index, expected in enumerate(records):
        assert pack.digest(index) == expected.digest
        assert pack.links(index) == list(expected.links)
        assert pack.size(index) == len(expected.payload)
        assert pack.payload(index) == expected.payload
    assert pack.memory_bytes > 0


def test_the_bytes_of_a_pack() -> None:
    payloads = b"abc", b""
    records = [record(7, payloads[0]), record(8, payloads[1], [7, 2])]
    (row,) = Pack.encode(records, 1 << 31)
    meta = cbor2.dumps([3, [3, 0], [[], [1, 6]]])
    digests = b"".join(item.digest for item in records)
    assert row == struct.pack(">BBHH", 0, 2, 1, len(meta)) + digests + meta + b"abc"
    gapped = [record(7, b"abc"), record(9, b"")]
    (row,) = Pack.encode(gapped, 1 << 31)
    assert cbor2.dumps([3, [3, 0], [[], []], [0, 2]]) in row


def test_payloads_are_compressed_together_when_that_saves_space(seed: int) -> None:
    noise = random.Random(seed).randbytes(2_000)
    alike = [record(number, noise + b"%d" % number) for number in range(1, 21)]
    size = sum(map(len, Pack.encode(alike, FRAGMENT_BYTES)))
    assert size < 2 * len(noise) + 20 * 60
    (row,) = Pack.encode([record(1, noise)], 1 << 31)
    assert row[0] == 0
    assert row.endswith(noise)


def test_the_largest_packs() -> None:
    far = 2**47
    many = [record(far + index, b"") for index in range(MAX_PACK_RECORDS)]
    assert len(Pack(far, b"".join(Pack.encode(many, FRAGMENT_BYTES))).numbers) == 255
    links = range(1, MAX_PACK_LINKS + 1)
    linked = record(far, bytes(MAX_PACK_BYTES), links)
    pack = Pack(far, b"".join(Pack.encode([linked], FRAGMENT_BYTES)))
    assert pack.links(0) == list(links)
    assert pack.payload(0) == bytes(MAX_PACK_BYTES)


def chain(count: int) -> list[NewRecord]:
    """Records each of which holds the digest of the one before, as manifests do."""
    records = [record(1, b"first")]
    for number in range(2, count + 1):
        payload = b"manifest %d of " % number + records[-1].digest
        records.append(record(number, payload))
    return records


def test_digests_in_payloads_are_not_stored_twice() -> None:
    records = chain(200)
    (quick,), (thorough,) = (Pack.encode(records, 1 << 31, thorough=how) for how in (False, True))
    assert (quick[0], thorough[0]) == (1, 4)
    assert len(thorough) < len(quick) - 190 * 30
    pack = Pack(1, thorough)
    assert [pack.payload(at) for at in range(200)] == [record.payload for record in records]


def versions(count: int) -> list[NewRecord]:
    """A growing list: some records, and a version that links to what it had and to one of them."""
    dice, number = random.Random(1), 1
    records: list[NewRecord] = []
    links: list[int] = []
    for _ in range(count):
        others = range(number, number + dice.randrange(1, 6))
        records += [record(other, b"item %d" % other) for other in others]
        links.append(dice.choice(others))
        records.append(record(others.stop, b"list", links))
        number = others.stop + 1
    return records


def deflated(data: bytes) -> bytes:
    """Return a frame of the form that packs have."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        6,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=0,
        write_checksum=0,
        write_dict_id=0,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def as_distances(records: list[NewRecord], row: bytes) -> bytes:
    """Return a pack of codec 4 as one of codec 3: each link on its own."""
    body_at = 6 + 32 * len(records) + int.from_bytes(row[4:6], "big")
    links = [[record.number - link for link in record.links] for record in records]
    body = row[body_at:]
    meta = deflated(cbor2.dumps([len(body), [len(record.payload) for record in records], links]))
    head = struct.pack(">BBHH", 3, len(records), 1, len(meta))
    return head + row[6 : 6 + 32 * len(records)] + meta + body


def test_links_as_steps() -> None:
    records = [record(number, b"some words " * 9) for number in range(1, 8)]
    records.append(record(8, b"some words", [2, 5, 1]))
    (row,) = Pack.encode(records, 1 << 31, thorough=True)
    assert row[0] == 4
    body_at = 6 + 32 * 8 + int.from_bytes(row[4:6], "big")
    decompressor = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    meta = decompressor.decompress(row[6 + 32 * 8 : body_at], max_output_size=1_000)
    assert cbor2.loads(meta) == [len(row) - body_at, [99] * 7 + [10], [[]] * 7 + [[6, -3, 4]]]
    assert Pack(1, row).links(7) == [2, 5, 1]


def test_the_versions_of_a_list_share_their_links() -> None:
    records = versions(40)
    (row,) = Pack.encode(records, 1 << 31, thorough=True)
    older = as_distances(records, row)
    assert row[0] == 4
    assert len(row) < len(older) - 5 * 40
    first, second = Pack(1, row), Pack(1, older)
    assert first.distances() == second.distances()
    for at, expected in enumerate(records):
        assert first.links(at) == second.links(at) == list(expected.links)
        assert first.payload(at) == second.payload(at) == expected.payload


def test_a_damaged_digest_harms_only_payloads_that_hold_it() -> None:
    records = chain(100)
    (row,) = Pack.encode(records, 1 << 31, thorough=True)
    at = 6 + 32 * 40
    pack = Pack(1, row[:at] + bytes([row[at] ^ 1]) + row[at + 1 :])
    wrong = [at for at in range(100) if pack.payload(at) != records[at].payload]
    assert wrong == [41]


@pytest.mark.parametrize("thorough", [False, True])
def test_a_codec_of_a_later_version_is_said_to_be_one(thorough: bool) -> None:
    """Whatever that codec does to the meta part, which may be no CBOR then."""
    (row,) = Pack.encode(chain(9), 1 << 31, thorough=thorough)
    for codec in (5, 17, 255):
        with pytest.raises(UnsupportedFormatError, match=f"codec {codec}.*upgrade"):
            Pack(1, bytes([codec]) + row[1:])


def test_links_that_lead_nowhere_are_damage() -> None:
    for delta in (0, -1, 7, 8, 2**70, 1.5, None, "a", [1]):
        meta = cbor2.dumps([3, [3], [[delta]]])
        head = struct.pack(">BBHH", 0, 1, 1, len(meta))
        pack = Pack(7, head + bytes(32) + meta + b"abc")
        with pytest.raises(CorruptObjectError):
            pack.links(0)
        with pytest.raises(CorruptObjectError):
            pack.distances()


def test_steps_that_lead_nowhere_are_damage() -> None:
    for steps in ([0], [3, -3], [3, 4], [3, 2**70], [3, 1.5], [3, None], [3, "a"], [[1], [2]], 3):
        meta = deflated(cbor2.dumps([3, [3], [steps]]))
        head = struct.pack(">BBHH", 4, 1, 1, len(meta))
        pack = Pack(7, head + bytes(32) + meta + b"abc")
        with pytest.raises(CorruptObjectError):
            pack.links(0)
        with pytest.raises(CorruptObjectError):
            pack.distances()


def test_mutated_packs_give_errors_of_this_project(seed: int) -> None:
    dice = random.Random(seed)
    records = [record(50, b"abc" * 50), record(51, b"def" * 9, [50]), record(53, b"", [51, 3])]
    originals = [Pack.encode(records, 1 << 31, thorough=thorough)[0] for thorough in (False, True)]
    originals.append(Pack.encode(chain(9), 1 << 31, thorough=True)[0])
    assert originals[-1][0] == 4
    originals.append(as_distances(chain(9), originals[-1]))
    refused = 0
    for _ in range(4_000):
        data = bytearray(dice.choice(originals))
        for _ in range(dice.choice((1, 1, 3))):
            at = dice.choice(
                (dice.randrange(6), dice.randrange(102, 130), dice.randrange(len(data)))
            )
            what = dice.randrange(4)
            if what == 0:
                data[at] ^= 1 << dice.randrange(8)
            elif what == 1:
                data[at : at + 1] = dice.choice((b"\xf6", b"\x80", b"\x1b" + b"\xff" * 8, b"\x9a"))
            elif what == 2:
                del data[at : at + dice.randrange(5)]
            else:
                data[at:at] = dice.randbytes(dice.randrange(4))
            data = data or bytearray(b"\x00")
        try:
            pack = Pack(50, bytes(data))
            for index in range(len(pack.numbers)):
                pack.links(index)
                assert len(pack.payload(index)) == pack.size(index) <= 16 * 1024 * 1024
        except HiveError:
            refused += 1
    assert 1_000 < refused < 4_000


def test_packs_are_written_and_read_by_threads(seed: int) -> None:
    dice = random.Random(seed)
    payloads = [dice.randbytes(3_000) * 5 for _ in range(6)]
    failures: list[BaseException] = []

    def work(payload: bytes) -> None:
        try:
            for number in range(1, 60):
                (row,) = Pack.encode([record(number, payload)], 1 << 31)
                assert Pack(number, row).payload(0) == payload
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(payload,)) for payload in payloads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
