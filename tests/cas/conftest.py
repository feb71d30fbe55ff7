"""Fixtures of several test modules: a store's directory, and handles on the store in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cas.garbage import Names


@pytest.fixture
def place(home: Path) -> Path:
    return home / "objects"


@pytest.fixture
def names(place: Path) -> Iterator[Names]:
    opened = Names(place)
    yield opened
    opened.close()


@pytest.fixture
def other(place: Path, names: Names) -> Iterator[Names]:
    """A second handle on the store of ``names``."""
    opened = Names(place)
    yield opened
    opened.close()
