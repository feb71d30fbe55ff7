"""A row in which one bit was turned over is found again, whichever bit it was."""

from __future__ import annotations

import pytest

from cas.onebit import OneBit
from cas.table import Table
from tests.damage import flip

TABLE = Table("things")
KEY = b"a key"
ROW = TABLE.seal(KEY, b"and what stands there")


def test_any_bit_of_key_and_row_is_put_right() -> None:
    for at in range(len(KEY)):
        for bit in range(8):
            assert OneBit().mended(TABLE, flip(KEY, at, bit), ROW) == (KEY, ROW)
    for at in range(len(ROW)):
        for bit in range(8):
            assert OneBit().mended(TABLE, KEY, flip(ROW, at, bit)) == (KEY, ROW)


@pytest.mark.parametrize("row", [b"", b"abc", bytes(40), bytes(5_000), flip(flip(ROW, 9), 12)])
def test_other_damage_is_left_alone(row: bytes) -> None:
    assert OneBit().mended(TABLE, KEY, row) is None


def test_the_tries_are_bounded() -> None:
    few = OneBit(most_tries=1)
    assert few.mended(TABLE, KEY, bytes(40)) is None
    assert few.mended(TABLE, KEY, flip(ROW, 9)) is None
