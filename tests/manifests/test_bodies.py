"""Values that rows hold: small ones whole in the row, and never an object that no row leads to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import PendingWrite, Repository
from manifests.bodies import INLINE_BYTES
from manifests.pieces import PieceSink
from tests.manifests.classes import registry
from tests.manifests.sameness import assert_same
from tests.manifests.strategies import values

SMALL = "a text that is an object in a list " * 3
LONG = "a long text " * 100


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("bodies") / "home"
    with Repository.open(home, registry=registry()) as opened:
        yield opened


def stored(repo: Repository, *given: Any) -> tuple[int, int]:
    """Write values as pending, read them back, and say how many objects are used and are not."""
    run = "run"
    before = repo.stats().objects
    writes = [PendingWrite("task", at, "name", value) for at, value in enumerate(given)]
    repo.put_pending(run, 1, writes)
    for found, value in zip(repo.pending(run, 1), given, strict=True):
        assert_same(found.value, value)
    used = repo.stats().objects - before
    unused = repo.gc(whole=True).objects_removed
    repo.commit(run, None)
    repo.delete_run(run, force=True)
    repo.gc(whole=True)
    return used, unused


near = st.lists(st.text("ab", min_size=40, max_size=90), max_size=4)
"""Around the size at which a value becomes an object."""


@given(st.lists(st.one_of(values(), near, st.just([SMALL, LONG])), max_size=4))
@settings(max_examples=60)
def test_any_values_come_back_and_nothing_is_stored_in_vain(
    repo: Repository, given: list[Any]
) -> None:
    _used, unused = stored(repo, *given)
    assert unused == 0


def test_what_a_small_value_links_to_stands_in_the_row_too(repo: Repository) -> None:
    assert stored(repo, [SMALL], {"key": [SMALL]}, ["x" * (INLINE_BYTES - 3)]) == (0, 0)
    assert stored(repo, ["x" * INLINE_BYTES]) == (2, 0)


def test_what_a_large_value_links_to_as_well_stays(repo: Repository) -> None:
    assert stored(repo, [SMALL, LONG], [SMALL]) == stored(repo, [SMALL], [SMALL, LONG]) == (3, 0)


def test_without_taking_objects_back_they_would_be_there_in_vain(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsplit = PieceSink.unsplit

    def forgetful(self: PieceSink, piece: Any, most: int, before: int) -> bytes | None:
        objects = dict(self.objects)
        whole = unsplit(self, piece, most, before)
        self.objects = objects
        return whole

    monkeypatch.setattr(PieceSink, "unsplit", forgetful)
    assert stored(repo, [SMALL]) == (1, 1)


def test_rows_of_an_earlier_writer_are_read(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manifests.bodies.INLINE_BYTES", 16)
    assert stored(repo, [SMALL], "short") == (2, 0)
