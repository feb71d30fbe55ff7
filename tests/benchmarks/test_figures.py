"""The figures that stand for themselves, in the smallest size."""

from __future__ import annotations

import math
from pathlib import Path

import lmdb
import pytest

from benchmarks.figures import NAMES, measure_apart, measure_figures
from benchmarks.figures.transactions import transactions_of
from benchmarks.results import Results
from benchmarks.targets import check_targets
from manifests import Repository

PREFIXES = {
    "cpu": ("cpu-",),
    "restore": ("restore-",),
    "overhead": ("overhead-",),
    "group-commit": ("raw-", "single-", "thread-", "task-"),
    "processes": ("process-",),
    "large": ("large-",),
    "gc": ("gc-",),
    "million": ("million-",),
}


class Asked(Results):
    """Notes which figures the limits are about."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def figure(self, name: str) -> float:
        self.names.add(name)
        return 0.0


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_measured_also_all_that_have_a_limit(name: str, tmp_path: Path) -> None:
    figures = measure_figures(name, tmp_path / "home", tiny=True)
    names = {figure.name for figure in figures}
    assert len(names) == len(figures)
    assert all(figure.name.startswith(PREFIXES[name]) for figure in figures)
    for figure in figures:
        assert math.isfinite(figure.value), figure
        assert figure.text
    asked = Asked()
    check_targets(asked)
    assert {each for each in asked.names if each.startswith(PREFIXES[name])} <= names


def test_every_limit_on_a_figure_is_on_one_that_exists() -> None:
    asked = Asked()
    check_targets(asked)
    known = tuple(prefix for prefixes in PREFIXES.values() for prefix in prefixes)
    assert asked.names
    assert [name for name in asked.names if not name.startswith(known)] == []


def test_unknown_figures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="processes"):
        measure_figures("nothing", tmp_path)


def test_transactions_are_counted_as_lmdb_counts_them(tmp_path: Path) -> None:
    with Repository.open(tmp_path) as repository:
        for turn in range(3):
            repository.commit("run", {"turn": turn})
    (file,) = (tmp_path / "objects").glob("g*/data.mdb")
    with lmdb.open(str(file.parent), readonly=True, lock=False) as environment:
        assert transactions_of(tmp_path) == environment.info()["last_txnid"]


def test_figures_are_measured_in_a_process_of_their_own(tmp_path: Path) -> None:
    names = [figure.name for figure in measure_figures("cpu", tmp_path / "here", tiny=True)]
    apart = measure_apart("cpu", tmp_path / "there", tiny=True)
    assert [figure.name for figure in apart] == names
    assert all(figure.value > 0 for figure in apart)
