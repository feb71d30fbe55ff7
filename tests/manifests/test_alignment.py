"""Differences between sequences: what lies outside them is the same, object by object."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import alignment
from manifests.alignment import Edit, differences, narrowed, splice

POOL = [object() for _ in range(12)]
"""Few, so that the same one occurs more than once."""
ITEMS = st.lists(st.sampled_from(POOL), max_size=60)


def fresh(size: int) -> list[Any]:
    """Return so many different objects."""
    return [object() for _ in range(size)]


@st.composite
def sequences(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """Return a sequence, often of different objects, and one that was made of it."""
    old = draw(st.one_of(ITEMS, st.integers(0, 300).map(fresh)))
    new = list(old)
    for _ in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(new)))
        match draw(st.integers(0, 5)):
            case 0:
                new.insert(at, draw(st.sampled_from([*POOL, object()])))
            case 1:
                del new[at : at + draw(st.integers(1, 100))]
            case 2:
                new = new[at:] + new[:at]
            case 3:
                new.reverse()
            case 4:
                new[at : at + 1] = [object()]
            case _:
                new[::2] = fresh(len(new[::2]))
    return old, new


def check(old: list[Any], new: list[Any]) -> list[Edit]:
    """Return the differences after checking that they lead from the one to the other."""
    edits = differences(old, new)
    old_at = at = 0
    for edit in (*edits, Edit(len(old), len(old), len(new), len(new))):
        assert edit.old_start - old_at == edit.start - at >= 0
        assert all(map(lambda a, b: a is b, old[old_at : edit.old_start], new[at : edit.start]))
        old_at, at = edit.old_stop, edit.stop
    assert all(edit.old_places or edit.places for edit in edits)
    return edits


@given(sequences())
def test_differences_lead_from_the_old_sequence_to_the_new_one(
    pair: tuple[list[Any], list[Any]],
) -> None:
    old, new = pair
    edits = check(old, new)
    added = [new[place] for edit in edits for place in edit.places]
    assert splice(list(old), edits, added) == new


@given(sequences(), st.integers(0, 3))
def test_edits_are_made_in_place_or_not_with_the_same_result(
    pair: tuple[list[Any], list[Any]], few: int
) -> None:
    old, new = pair
    edits = differences(old, new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "_FEW", few)
        added = [new[place] for edit in edits for place in edit.places]
        assert splice(list(old), edits, added) == new


@given(sequences(), st.data())
def test_edits_without_what_stayed_lead_there_too(
    pair: tuple[list[Any], list[Any]], data: st.DataObject
) -> None:
    """Items that turn out to be old ones, in their places or others, need no edit or are in one."""
    old, new = pair
    edits = [Edit(0, len(old), 0, len(new))] if old or new else []
    sources: dict[int, int] = {}
    for place, item in enumerate(new):
        places = [at for at, other in enumerate(old) if other is item]
        chosen = data.draw(st.sampled_from([-1, *places]))
        if chosen >= 0:
            sources[place] = chosen
    edits = narrowed(edits, sources)
    added = [new[place] for edit in edits for place in edit.places]
    assert splice(list(old), edits, added) == new


def test_usual_changes_are_found_as_they_were_made() -> None:
    old, other = fresh(1_000), object()
    assert check(old, [*old, other]) == [Edit(1_000, 1_000, 1_000, 1_001)]
    assert check(old, [*old[1:], other]) == [Edit(0, 1, 0, 0), Edit(1_000, 1_000, 999, 1_000)]
    assert check(old, [*old[500:], other]) == [Edit(0, 500, 0, 0), Edit(1_000, 1_000, 500, 501)]
    assert check(old, [other, *old]) == [Edit(0, 0, 0, 1)]
    assert check(old, [*old[:7], other, *old[8:]]) == [Edit(7, 8, 7, 8)]
    replaced = [*old[:7], other, *old[8:90], object(), *old[91:]]
    assert check(old, replaced) == [Edit(7, 8, 7, 8), Edit(90, 91, 90, 91)]
    thinned = [*old[:7], *old[8:90], *old[91:], other]
    assert [edit.old_start for edit in check(old, thinned)] == [7, 90, 1_000]
