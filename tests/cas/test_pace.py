"""The pace of a collector beside others."""

from __future__ import annotations

import time

import pytest

from cas.pace import Pace


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which takes time."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def test_transactions_grow_while_nobody_writes(slept: list[float]) -> None:
    pace = Pace(0.005)
    seconds = []
    for _ in range(5):
        seconds.append(pace.seconds)
        pace.begin()
        pace.rest(others_wrote=False)
    assert seconds == [0.001, 0.002, 0.004, 0.005, 0.005]
    assert set(slept) == {0.0005}


def test_they_are_short_again_as_soon_as_somebody_does(slept: list[float]) -> None:
    pace = Pace(0.005)
    for _ in range(3):
        pace.rest(others_wrote=False)
    pace.rest(others_wrote=True)
    assert pace.seconds == 0.001


def test_others_get_as_long_as_they_had_to_wait(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 10.0, 10.25])
    monkeypatch.setattr(time, "perf_counter", lambda: next(moments))
    pace = Pace(0.005)
    pace.begin()
    pace.rest(others_wrote=True)
    assert slept == [0.25]


def test_it_may_be_limited_to_the_least_there_is_to_do() -> None:
    assert Pace(0.0).seconds == 0.0
