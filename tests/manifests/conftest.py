"""What tests of this layer share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import Repository


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """A repository of this test alone."""
    with Repository.open(home) as opened:
        yield opened
