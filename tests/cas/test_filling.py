"""Rows of packs fill the pages of the table of records."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.filling import PageFiller
from cas.objects import Object
from cas.packs import FRAGMENT_BYTES
from cas.records import OBJECTS
from cas.store import ObjectStore

_PAGE = 4096


@given(st.none() | st.integers(-50, 4080), st.lists(st.integers(1, 20_000), max_size=8))
def test_a_pack_is_cut_into_rows_that_fit(room: int | None, sizes: list[int]) -> None:
    filler = PageFiller(room)
    for size in sizes:
        rows = filler.cut(size)
        assert sum(rows) == size
        assert all(0 < row <= FRAGMENT_BYTES for row in rows)
    assert (filler.room is None) == (room is None)


def test_the_room_is_known_once_a_row_began_a_page() -> None:
    filler = PageFiller(None)
    filler.saw(500, began_page=False)
    assert filler.room is None
    filler.saw(2_001, began_page=True)
    assert filler.room == 4_080 - 2_002 - 18
    filler.saw(500, began_page=False)
    assert filler.cut(3_000)[0] == 4_080 - 2_002 - 500 - 3 * 18


@pytest.mark.parametrize("commits_between_openings", [1_000, 25])
def test_pages_of_commits_are_full(home: Path, seed: int, commits_between_openings: int) -> None:
    rng = random.Random(seed)
    place = home / "objects"
    opened = ObjectStore.open(place)
    for number in range(160):
        if number % commits_between_openings == commits_between_openings - 1:
            opened.close()
            opened = ObjectStore.open(place)
        opened.put(Object((), rng.randbytes(rng.randrange(200, 6_000))))
    rows, pages = opened.environment.read(lambda tx: (list(tx.items(OBJECTS)), tx.pages(OBJECTS)))
    opened.close()
    taken = sum(len(row) + 18 for _, row in rows)
    # A store that was just opened does not know the room, and wastes the rest of one page.
    openings = 160 // commits_between_openings
    assert pages * _PAGE < 1.02 * taken + (openings + 1) * _PAGE


def test_two_stores_that_write_in_turn_lose_nothing(home: Path, seed: int) -> None:
    rng = random.Random(seed)
    place = home / "objects"
    items = [Object((), rng.randbytes(rng.randrange(1, 9_000))) for _ in range(60)]
    with ObjectStore.open(place) as one, ObjectStore.open(place) as other:
        addresses = [rng.choice((one, other)).put(item) for item in items]
        assert [one.get(address) for address in addresses] == items
