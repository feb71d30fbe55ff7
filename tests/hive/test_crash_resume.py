"""The test that counts: die at every step, resume in another process, end as if uninterrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hive.graph.checkpoint_manager import CheckpointManager
from tests.hive.crash_graphs import FAMILY, RUN, Case, Effects
from tests.hive.crashing import launch, memory_folder
from tests.hive.zygote import Zygote

PROJECT = Path(__file__).resolve().parents[2]
CASES = pytest.mark.parametrize("case", FAMILY.values(), ids=lambda case: case.name)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote("tests.hive.crash_jobs") as started:
        yield started


class Crashes:
    """Runs a case in processes, of which the first may be killed."""

    def __init__(self, zygote: Zygote, case: Case, folder: Path, durability: str = "sync") -> None:
        self.case = case
        self.folder = folder
        self._zygote = zygote
        self._durability = durability

    def die_at(self, phase: str | None, number: int = 0, *, slow_seconds: float = 0.0) -> int:
        """Run or resume the case in a process that dies at a moment; return its exit status."""
        place = str(self.folder)
        return self._zygote.run(
            "tests.hive.crash_jobs:run",
            *(self.case.name, place, phase, number, self._durability, slow_seconds),
        )

    def finish(self) -> Outcome:
        """Run or resume the case in a process that lives, and return what it left."""
        status = self._zygote.run(
            "tests.hive.crash_jobs:finish", self.case.name, str(self.folder), self._durability
        )
        assert status == 0
        return Outcome(**json.loads((self.folder / "outcome").read_text()))

    def transactions(self) -> int:
        """Return how many transactions the last process made."""
        return int((self.folder / "transactions").read_text())


@dataclass(frozen=True)
class Outcome:
    """What a run left: its result, side effects and checkpoints; see ``crash_jobs.finish``."""

    result: dict[str, Any]
    state: str
    execution: str
    kinds: list[str]
    sequences: list[int]
    before: int
    completed: dict[str, int]
    effects: list[list[Any]]
    charges: list[list[Any]]
    transactions: int = 0

    @property
    def notes(self) -> list[tuple[Any, ...]]:
        """The side-effect log."""
        return [tuple(item) for item in self.effects]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as place:
        yield place


@pytest.fixture(scope="module")
def uninterrupted(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What each case leaves when nothing interrupts it."""
    outcomes = {}
    for case in FAMILY.values():
        crashes = Crashes(zygote, case, tmp_path_factory.mktemp(case.name))
        outcomes[case.name] = replace(crashes.finish(), transactions=crashes.transactions())
    return outcomes


@CASES
def test_an_uninterrupted_run_is_what_the_case_says(
    case: Case, uninterrupted: dict[str, Outcome]
) -> None:
    outcome = uninterrupted[case.name]
    assert outcome.result["success"] is not case.fails
    assert len(outcome.notes) == case.attempts
    assert len(outcome.kinds) == case.commits
    assert outcome.kinds[0] == "input"
    assert outcome.kinds[-1] == ("failed" if case.fails else "final")
    assert outcome.sequences == list(range(1, case.commits + 1))
    visits = {(node, visit) for node, visit, *_ in outcome.notes}
    assert len({key for *_, key in outcome.notes}) == len(visits)
    assert outcome.transactions >= case.commits


def compare(outcome: Outcome, whole: Outcome, case: Case, where: str) -> None:
    """Compare what an interrupted and resumed run left with what an uninterrupted one does."""
    assert outcome.state == whole.state, where
    # Latencies count the attempt that was lost only once, so they are equal as well.
    assert outcome.result == whole.result, where
    assert outcome.execution == whole.execution, where
    assert outcome.kinds == whole.kinds, where
    assert outcome.sequences == whole.sequences, where
    compare_side_effects(outcome, whole, case, where)


def compare_side_effects(outcome: Outcome, whole: Outcome, case: Case, where: str) -> None:
    assert not Counter(whole.notes) - Counter(outcome.notes), where
    seen, after = outcome.notes[: outcome.before], outcome.notes[outcome.before :]
    # What was recorded as completed did not run again.
    again = [item for item in after if item[1] <= outcome.completed.get(item[0], 0)]
    assert not again, where
    # Only attempts in flight did, once each, with the same number and the same key.
    repeated = Counter(outcome.notes) - Counter(whole.notes)
    assert sum(repeated.values()) <= case.at_once, where
    assert set(repeated) <= set(seen[-1:] if case.at_once == 1 else seen), where


@CASES
@pytest.mark.parametrize("phase", ["before", "inside", "after", "attempt"])
def test_a_run_killed_at_any_step_and_resumed_ends_like_an_uninterrupted_one(
    case: Case, phase: Any, uninterrupted: dict[str, Outcome], zygote: Zygote, folder: Path
) -> None:
    whole = uninterrupted[case.name]
    steps = case.attempts if phase == "attempt" else whole.transactions
    for number in range(1, steps + 1):
        place = folder / str(number)
        place.mkdir()
        crashes = Crashes(zygote, case, place)
        where = f"{case.name}: killed {phase} {number} of {steps}"
        status = crashes.die_at(phase, number)
        # Transactions of branches are shared if they happen to wait for one another.
        assert status == -signal.SIGKILL or (case.at_once > 1 and number > case.commits), where
        outcome = crashes.finish()
        if (
            case.fails
            and outcome.kinds[: case.commits] == whole.kinds
            and len(outcome.kinds) > len(whole.kinds)
        ):
            # The failure was saved: resuming it asks for the failed visits once more.
            tried = [item for item in whole.notes if item[0] in case.again]
            assert Counter(outcome.notes) == Counter([*whole.notes, *tried]), where
            assert outcome.result["path"] == whole.result["path"], where
            assert outcome.result["visits"] == whole.result["visits"], where
            continue
        compare(outcome, whole, case, where)
        # An effect whose value is stored is not repeated; killed between the two, it is.
        double = Counter(map(str, outcome.charges)) - Counter(map(str, whole.charges))
        assert sum(double.values()) <= (phase != "after"), where


def test_there_are_at_least_400_kill_points(uninterrupted: dict[str, Outcome]) -> None:
    points = sum(
        3 * whole.transactions + FAMILY[name].attempts for name, whole in uninterrupted.items()
    )
    print(f"{points} kill points")
    assert points >= 400


@CASES
def test_a_run_killed_again_and_again_ends_like_an_uninterrupted_one(
    case: Case, uninterrupted: dict[str, Outcome], zygote: Zygote, folder: Path
) -> None:
    whole = uninterrupted[case.name]
    crashes = Crashes(zygote, case, folder)
    status = crashes.die_at("after", 1)
    deaths = 0
    while status == -signal.SIGKILL:
        deaths += 1
        with CheckpointManager(folder / "home") as manager:
            head = manager.latest(RUN)
            assert head is not None
        if head.kind == "failed":
            break
        status = crashes.die_at("after", 2)  # the first one is the claim on the run
    assert deaths >= case.commits
    if case.at_once == 1:
        # Each death came after a transaction and before the next node. Attempts of nodes that save
        # while they are in flight died before their note.
        assert deaths <= whole.transactions
        assert [tuple(item) for item in Effects(folder / "effects").read()] == whole.notes
    if not case.fails:
        outcome = crashes.finish()
        assert outcome.result == whole.result
        assert Counter(map(str, outcome.charges)) == Counter(map(str, whole.charges))


@pytest.mark.parametrize("name", ["linear", "retry"])
def test_a_spawned_process_with_another_hash_seed_resumes_too(
    name: str, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    program = (
        "import sys, json; from pathlib import Path\n"
        "from tests.hive.crashing import comparable, run_case\n"
        "moment = ('inside', int(sys.argv[3])) if sys.argv[3] != '0' else None\n"
        "result = run_case(sys.argv[1], Path(sys.argv[2]), moment)\n"
        "Path(sys.argv[2], 'result').write_text(json.dumps(comparable(result)))\n"
    )
    for seed, number in (("1", "3"), ("2", "0")):
        done = subprocess.run(
            [sys.executable, "-c", program, name, str(folder), number],
            env={**os.environ, "PYTHONPATH": str(PROJECT), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (-signal.SIGKILL if number != "0" else 0), done.stderr
    assert json.loads((folder / "result").read_text()) == uninterrupted[name].result


@CASES
def test_async_durability_loses_at_most_a_tail_and_never_leaves_a_gap(
    case: Case, uninterrupted: dict[str, Outcome], zygote: Zygote, folder: Path
) -> None:
    whole = uninterrupted[case.name]
    repeated = 0
    for number in range(1, case.attempts + 1):
        place = folder / str(number)
        place.mkdir()
        crashes = Crashes(zygote, case, place, "async")
        assert crashes.die_at("attempt", number, slow_seconds=0.02) == -signal.SIGKILL
        outcome = crashes.finish()
        where = f"{case.name}: killed at attempt {number}"
        assert outcome.result == whole.result, where
        assert outcome.state == whole.state, where
        assert outcome.execution == whole.execution, where
        assert outcome.kinds == whole.kinds, where
        assert outcome.sequences == whole.sequences, where
        before, after = outcome.notes[: outcome.before], outcome.notes[outcome.before :]
        assert not Counter(whole.notes) - Counter(outcome.notes), where
        if case.at_once == 1:
            assert before == whole.notes[: len(before)], where
            assert after == whole.notes[-len(after) :], where
        repeated = max(repeated, len(outcome.notes) - len(whole.notes))
    # The writer was behind, or this would have tested what `sync` promises. A pause waits for it,
    # and so does an effect.
    assert repeated > 1 or case.name in {"pause", "outside"}


@CASES
def test_exit_durability_keeps_pauses_and_ends(
    case: Case, uninterrupted: dict[str, Outcome], zygote: Zygote, folder: Path
) -> None:
    whole = uninterrupted[case.name]
    crashes = Crashes(zygote, case, folder, "exit")
    assert crashes.die_at("attempt", case.attempts) == -signal.SIGKILL
    pauses = whole.kinds.count("paused")
    with CheckpointManager(folder / "home") as manager:
        assert [cp.kind for cp in manager.history(RUN)] == ["paused"] * pauses
    outcome = crashes.finish()
    assert outcome.result == whole.result
    assert outcome.state == whole.state
    assert set(outcome.notes) == set(whole.notes)


def test_a_completed_run_gives_its_recorded_result_and_runs_nothing(folder: Path) -> None:
    case = FAMILY["router"]
    effects = Effects(folder / "effects")
    first = launch(case, folder / "home", effects)
    again = launch(case, folder / "home", effects)
    assert again == first
    assert len(effects.read()) == case.attempts
