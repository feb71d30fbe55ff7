"""The order of the measurements, and what is left out if time is short."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.peers.files import CborFiles
from benchmarks.peers.hive_store import Hive, HiveAsync
from benchmarks.schedule import Budget, Job, jobs_of
from benchmarks.workloads.chat import Chat


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def names(rounds: int) -> list[str]:
    """The measurements of three stores on two workloads, with two kinds of figures."""
    workloads = [Chat(200), Chat(1000)]
    kinds = [CborFiles, HiveAsync, Hive]
    return list(map(str, jobs_of(workloads, ["cpu", "large", "million"], rounds, lambda _: kinds)))


def test_what_the_limits_need_is_measured_first_and_everything_once() -> None:
    assert names(2) == [
        "round 1: chat-1000",
        "round 1: chat-1000 alone: hive",
        "round 1: chat-1000 alone: hive-async",
        "round 1: chat-1000 alone: cbor-files",
        "round 1: chat-200",
        "round 1: chat-200 alone: hive",
        "round 1: cpu",
        "round 1: large",
        "round 1: million",
        "round 2: chat-1000",
        "round 2: chat-200",
        "round 2: cpu",
        "round 1: chat-200 alone: hive-async",
        "round 1: chat-200 alone: cbor-files",
    ]


def test_a_further_round_is_begun_only_if_it_fits() -> None:
    clock = Clock()
    budget = Budget(1.0, clock)
    long, short = Job("race", "long"), Job("figures", "short")
    for job, taken in ((long, 25.0), (short, 5.0)):
        assert budget.begin(job)
        clock.seconds += taken
        budget.end(job)
    assert budget.begin(Job("race", "long", 1))
    clock.seconds += 20.0
    budget.end(Job("race", "long", 1))
    assert not budget.begin(Job("race", "long", 2)), "25 seconds do not fit into 10"
    assert not budget.begin(Job("alone", "long", peer=Hive)), "taken for as long as the race"
    assert budget.begin(Job("figures", "short", 1))
    assert budget.begin(Job("race", "never seen"))
    clock.seconds = 60.0
    assert not budget.begin(Job("race", "never seen"))


def test_without_a_budget_everything_fits() -> None:
    clock = Clock()
    budget = Budget(None, clock)
    clock.seconds = 1e9
    assert budget.begin(Job("race", "any"))


def test_what_was_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--tiny", "--workloads", "chat-200", "--peers", "hive", "--figures", "none"]
    options += ["--budget", "0", "--folder", str(tmp_path), "--output", str(tmp_path)]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "Not measured: round 1: chat-12 alone: hive (no time was left)." in printed
