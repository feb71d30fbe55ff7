from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from cas.digest import DIGEST_BYTES, Digest
from cas.errors import InvalidInputError


@given(st.binary(max_size=200))
def test_a_digest_is_the_blake3_of_the_bytes(data: bytes) -> None:
    digest = Digest.of(data)
    assert bytes(digest) == blake3(data).digest()
    assert str(digest) == f"{digest}" == digest.hex()
    assert Digest.parse(str(digest)) == digest
    assert digest.short == str(digest)[:12]


def test_known_digests() -> None:
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert str(Digest.of(b"")) == empty
    assert str(Digest.of(b"abc")).startswith("6437b3ac38465133ffb63b75273a8db5")


def test_a_digest_serves_as_its_bytes() -> None:
    digest = Digest.of(b"x")
    assert digest == bytes(digest)
    assert hash(digest) == hash(bytes(digest))
    assert b"".join([digest, digest]) == bytes(digest) * 2
    assert {digest: 1}[bytes(digest)] == 1  # type: ignore[index]
    assert type(digest[:4]) is bytes
    assert repr(digest) == f"Digest({digest.short})"
    assert f"{digest:.8}" == str(digest)[:8]


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(InvalidInputError, match=f"{DIGEST_BYTES} bytes, not {size}"):
        Digest(bytes(size))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 63,
        "0" * 65,
        "A" * 64,
        "g" * 64,
        "0" * 63 + "\n",
        "0" * 64 + "\n",
        " " + "0" * 63,
        "0x" + "0" * 62,
        "\N{FULLWIDTH DIGIT ONE}" * 64,
        "\N{ARABIC-INDIC DIGIT ONE}" * 64,
    ],
    ids=range(11),
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="64 lower-case hex digits"):
        Digest.parse(text)
