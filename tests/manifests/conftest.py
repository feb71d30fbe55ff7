"""What tests of this layer share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import Repository
from tests.golden.regenerate import STORE


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """A repository of this test alone."""
    with Repository.open(home) as opened:
        yield opened


@pytest.fixture
def golden_home(tmp_path: Path) -> Path:
    """A private copy of the golden store, with the modes that a checkout does not keep."""
    place = tmp_path / "golden"
    shutil.copytree(STORE, place)
    for path in (place, *place.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return place
