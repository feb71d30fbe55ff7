"""The test that counts: die at every step, resume in another process, end as if uninterrupted."""

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

from hive.graph.checkpoint_manager import CheckpointManager
from hive.schemas.checkpoint import CheckpointConfig
from tests.hive.crash_graphs import FAMILY, RUN, Case, Effects
from tests.hive.crashing import Moment, comparable, in_child, launch, memory_folder, run_case

PROJECT = Path(__file__).resolve().parents[2]
CASES = pytest.mark.parametrize("case", FAMILY.values(), ids=lambda case: case.name)


class Outcome:
    """What a run left: its result, its side effects, its checkpoints."""

    def __init__(self, case: Case, folder: Path) -> None:
        effects = Effects(folder / "effects")
        self.effects = effects.read()
        with CheckpointManager(folder / "home") as manager:
            self.kinds = [cp.kind for cp in reversed(manager.history(RUN))]
            self.sequences = [cp.sequence for cp in reversed(manager.history(RUN))]
            self.state = manager.restore(RUN)
            point = manager.resume_point(RUN)
            assert point is not None
            self.execution = point.execution
        self.result = json.loads((folder / "result").read_text())


def run_to_end(case: Case, folder: Path, config: CheckpointConfig | None = None) -> None:
    """Run or resume a case in a fresh process, and keep its result in the folder."""

    def job() -> None:
        result = run_case(case.name, folder, None, config)
        (folder / "result").write_text(json.dumps(comparable(result)))

    assert in_child(job) == 0


def die_at(
    case: Case, folder: Path, moment: Moment, config: CheckpointConfig | None = None
) -> None:
    """Run a case in a process that dies at ``moment``."""
    assert in_child(lambda: run_case(case.name, folder, moment, config)) == -signal.SIGKILL


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as place:
        yield place


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What each case leaves when nothing interrupts it."""
    outcomes = {}
    for case in FAMILY.values():
        folder = tmp_path_factory.mktemp(case.name)
        run_to_end(case, folder)
        outcomes[case.name] = Outcome(case, folder)
    return outcomes


@CASES
def test_an_uninterrupted_run_is_what_the_case_says(
    case: Case, uninterrupted: dict[str, Outcome]
) -> None:
    outcome = uninterrupted[case.name]
    assert outcome.result["success"] is not case.fails
    assert len(outcome.effects) == case.attempts
    assert len(outcome.kinds) == case.commits
    assert outcome.kinds[0] == "input"
    assert outcome.kinds[-1] == ("failed" if case.fails else "final")
    assert outcome.sequences == list(range(1, case.commits + 1))
    assert outcome.state == {**outcome.result["output"], "log": outcome.state["log"]}
    assert len({key for *_, key in outcome.effects}) == len({item[:2] for item in outcome.effects})


@CASES
@pytest.mark.parametrize("phase", ["before", "inside", "after", "attempt"])
def test_a_run_killed_at_any_step_and_resumed_ends_like_an_uninterrupted_one(
    case: Case, phase: Any, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    steps = case.attempts if phase == "attempt" else case.commits
    for number in range(1, steps + 1):
        place = folder / str(number)
        place.mkdir()
        die_at(case, place, (phase, number))
        seen = Effects(place / "effects").read()
        run_to_end(case, place)
        outcome = Outcome(case, place)
        where = f"{case.name}: killed {phase} {number}"
        if case.fails and (phase, number) == ("after", steps):
            # The failure was saved: resuming it asks for the failed visit once more.
            again = [item for item in whole.effects if item[0] == "b"]
            assert outcome.effects == whole.effects + again, where
            assert outcome.result["path"] == whole.result["path"], where
            assert outcome.result["visits"] == whole.result["visits"], where
            continue
        assert outcome.state == whole.state, where
        # Latencies count the attempt that was lost only once, so they are equal as well.
        assert outcome.result == whole.result, where
        assert outcome.execution == whole.execution, where
        assert outcome.kinds == whole.kinds, where
        assert outcome.sequences == whole.sequences, where
        repeated = Counter(outcome.effects) - Counter(whole.effects)
        assert not Counter(whole.effects) - Counter(outcome.effects), where
        if phase == "after":
            assert outcome.effects == whole.effects, where
        else:
            # Only the attempt in flight runs again, with the same number and the same key.
            assert sum(repeated.values()) <= 1, where
            assert set(repeated) <= set(seen[-1:]), where


@CASES
def test_a_run_killed_again_and_again_ends_like_an_uninterrupted_one(
    case: Case, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    deaths = 0
    while in_child(lambda: run_case(case.name, folder, ("after", 1))) == -signal.SIGKILL:
        deaths += 1
        with CheckpointManager(folder / "home") as manager:
            head = manager.latest(RUN)
            assert head is not None
            assert head.sequence == deaths
        if head.kind == "failed":
            break
    # One commit each time; a completed run commits nothing more and so does not die.
    assert deaths == case.commits
    assert Effects(folder / "effects").read() == uninterrupted[case.name].effects
    if not case.fails:
        run_to_end(case, folder)
        assert Outcome(case, folder).result == uninterrupted[case.name].result


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
    assert Outcome(FAMILY[name], folder).result == uninterrupted[name].result


@CASES
def test_async_durability_loses_at_most_a_tail_and_never_leaves_a_gap(
    case: Case, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    config = CheckpointConfig(durability="async")
    repeated = 0
    for number in range(1, case.attempts + 1):
        place = folder / str(number)
        place.mkdir()
        moment: Moment = ("attempt", number)
        status = in_child(
            lambda moment=moment, place=place: run_case(  # type: ignore[misc]
                case.name, place, moment, config, slow_seconds=0.004
            )
        )
        assert status == -signal.SIGKILL
        before = Effects(place / "effects").read()
        run_to_end(case, place, config)
        outcome = Outcome(case, place)
        after = outcome.effects[len(before) :]
        assert outcome.result == whole.result
        assert outcome.kinds == whole.kinds
        assert outcome.sequences == whole.sequences
        assert before == whole.effects[: len(before)]
        assert after == whole.effects[-len(after) :]
        assert len(before) + len(after) >= len(whole.effects)
        repeated = max(repeated, len(before) + len(after) - len(whole.effects))
    # The writer was behind, or this would have tested what `sync` promises. A pause waits for it.
    assert repeated > 1 or case.name == "pause"


@CASES
def test_exit_durability_keeps_pauses_and_ends(
    case: Case, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    config = CheckpointConfig(durability="exit")
    die_at(case, folder, ("attempt", case.attempts), config)
    with CheckpointManager(folder / "home") as manager:
        assert [cp.kind for cp in manager.history(RUN)] == (
            ["paused", "paused"] if case.name == "pause" else []
        )
    run_to_end(case, folder, config)
    outcome = Outcome(case, folder)
    assert outcome.result == whole.result
    assert outcome.state == whole.state
    assert set(outcome.effects) == set(whole.effects)


def test_a_completed_run_gives_its_recorded_result_and_runs_nothing(folder: Path) -> None:
    case = FAMILY["router"]
    effects = Effects(folder / "effects")
    first = launch(case, folder / "home", effects)
    again = launch(case, folder / "home", effects)
    assert again == first
    assert len(effects.read()) == case.attempts
