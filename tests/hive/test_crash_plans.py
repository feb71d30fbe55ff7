"""Die at every transaction and attempt of a plan, resume elsewhere, end as if uninterrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hive.plan.progress import PlanProgress
from tests.hive.crash_plan_jobs import finish, run
from tests.hive.crash_plans import PLANS, PlanCase
from tests.hive.crashing import in_child, memory_folder
from tests.hive.zygote import PROJECT, Zygote

CASES = pytest.mark.parametrize("case", PLANS.values(), ids=lambda case: case.name)
JOBS = "tests.hive.crash_plan_jobs"
STOPPED = {"failed", "needs_replan"}
"""How a run can end whose resuming means to try once more."""


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote(JOBS) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as place:
        yield place


class Outcome:
    """What a run left, as a fresh process saw it: its result, side effects and checkpoints."""

    def __init__(self, folder: Path) -> None:
        found = json.loads((folder / "outcome").read_text())
        self.result: dict[str, Any] = found["result"]
        self.state: str = found["state"]
        self.execution: str = found["execution"]
        self.kinds: list[str] = found["kinds"]
        self.commits: int = found["commits"]
        self.runs: list[str] = found["runs"]
        self.kinds_before: list[str] = found["kinds_before"]
        self.completed = set(found["completed"])
        self.effects = [tuple(item) for item in found["effects"]]
        self.seen = self.effects[: found["before"]]
        self.again = self.effects[found["before"] :]
        self.transactions = int((folder / "transactions").read_text())

    def is_like(self, whole: Outcome) -> bool:
        """Tell whether the run ended as another one; independent steps may have changed places."""
        return (
            self.result == whole.result
            and self.state == whole.state
            and self.execution == whole.execution
            and Counter(self.kinds) == Counter(whole.kinds)
            and self.runs == whole.runs
        )


def died_at(
    zygote: Zygote, case: PlanCase, place: Path, phase: str, number: int, durability: str = "sync"
) -> Outcome:
    """Kill a run at a moment, resume it to its end, and return what is there then."""
    place.mkdir(exist_ok=True)
    slow = 0.002 if durability == "async" else 0.0
    status = zygote.run(f"{JOBS}:run", case.name, str(place), phase, number, durability, slow)
    assert status == -signal.SIGKILL, f"{case.name}: no {phase} {number}"
    return run_to_end(zygote, case, place, durability)


def run_to_end(zygote: Zygote, case: PlanCase, place: Path, durability: str = "sync") -> Outcome:
    assert zygote.run(f"{JOBS}:finish", case.name, str(place), durability) == 0
    return Outcome(place)


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What each case leaves when nothing interrupts it."""
    return {
        case.name: run_to_end(zygote, case, tmp_path_factory.mktemp(case.name))
        for case in PLANS.values()
    }


@CASES
def test_an_uninterrupted_run_is_what_the_case_says(
    case: PlanCase, uninterrupted: dict[str, Outcome]
) -> None:
    outcome = uninterrupted[case.name]
    assert outcome.result["status"] == case.status
    assert len(outcome.effects) == case.attempts
    assert outcome.commits == case.commits
    assert outcome.kinds[0] == "input"
    assert outcome.kinds[-1] == ("final" if case.status == "completed" else "failed")
    assert outcome.state == repr(outcome.result["results"])


@CASES
@pytest.mark.parametrize("phase", ["before", "inside", "after", "attempt"])
def test_a_plan_killed_at_any_step_and_resumed_ends_like_an_uninterrupted_one(
    case: PlanCase,
    phase: str,
    zygote: Zygote,
    uninterrupted: dict[str, Outcome],
    folder: Path,
) -> None:
    whole = uninterrupted[case.name]
    steps = case.attempts if phase == "attempt" else whole.transactions
    for number in range(1, steps + 1):
        outcome = died_at(zygote, case, folder / str(number), phase, number)
        where = f"{case.name}: killed {phase} {number}"
        assert not outcome.completed & {item[0] for item in outcome.again}, where
        if case.status in STOPPED and outcome.kinds_before[:1] == ["failed"]:
            # That the run stopped was saved: resuming it asks for one more attempt.
            assert outcome.result["status"] == case.status, where
            continue
        assert outcome.is_like(whole), where
        # Only attempts in flight run again, with the same number and the same key.
        assert not Counter(whole.effects) - Counter(outcome.effects), where
        repeated = Counter(outcome.effects) - Counter(whole.effects)
        assert set(repeated) <= set(outcome.seen), where
        assert max(repeated.values(), default=1) == 1, where


@CASES
def test_a_plan_killed_again_and_again_ends_like_an_uninterrupted_one(
    case: PlanCase, zygote: Zygote, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    deaths = 0
    # The first transaction of a process claims the run, the second one may claim that of a graph.
    while (
        zygote.run(f"{JOBS}:run", case.name, str(folder), "after", 3, "sync", 0.0)
        == -signal.SIGKILL
    ):
        deaths += 1
        if deaths > 2 * whole.transactions:
            assert case.status in STOPPED, "it makes no progress"
            break
    outcome = run_to_end(zygote, case, folder)
    assert outcome.result["results"] == whole.result["results"]
    assert outcome.result["status"] == whole.result["status"]
    if case.status not in STOPPED:
        assert outcome.is_like(whole)


@CASES
def test_async_durability_loses_at_most_a_tail_and_never_leaves_a_gap(
    case: PlanCase, zygote: Zygote, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    for number in range(1, case.attempts + 1):
        outcome = died_at(zygote, case, folder / str(number), "attempt", number, "async")
        assert not outcome.completed & {item[0] for item in outcome.again}
        assert outcome.is_like(whole)
        assert not Counter(whole.effects) - Counter(outcome.effects)


@CASES
def test_exit_durability_keeps_pauses_and_ends(
    case: PlanCase, zygote: Zygote, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    outcome = died_at(zygote, case, folder, "attempt", case.attempts, "exit")
    assert set(outcome.kinds_before) <= {"paused", "failed"}
    assert outcome.result == uninterrupted[case.name].result


def test_a_spawned_process_with_another_hash_seed_resumes_too(
    uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    program = (
        "import sys\n"
        "from tests.hive.crash_plan_jobs import finish, run\n"
        "if sys.argv[2] == 'run':\n"
        "    run('judged', sys.argv[1], 'inside', 6, 'sync', 0.0)\n"
        "finish('judged', sys.argv[1], 'sync')\n"
    )
    for seed, word, status in (("1", "run", -signal.SIGKILL), ("2", "finish", 0)):
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder), word],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
    assert Outcome(folder).is_like(uninterrupted["judged"])


def test_a_counter_that_is_not_saved_would_be_noticed(
    uninterrupted: dict[str, Outcome], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: children whose executor forgets how many steps it made."""
    to_record = PlanProgress.to_record
    monkeypatch.setattr(PlanProgress, "to_record", lambda self: {**to_record(self), "steps": 0})
    arguments = ("chain", str(folder))
    assert in_child(lambda: run(*arguments, "after", 4, "sync", 0.0)) == -signal.SIGKILL
    assert in_child(lambda: finish(*arguments, "sync")) == 0
    assert not Outcome(folder).is_like(uninterrupted["chain"])
