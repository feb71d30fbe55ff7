"""Die at every step of a plan, resume in another process, end as if uninterrupted."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hive.graph.checkpoint_manager import CheckpointManager
from hive.plan import PlanExecutionResult
from hive.plan.progress import PlanProgress
from hive.schemas.checkpoint import CheckpointConfig
from tests.hive.crash_graphs import RUN, Effects
from tests.hive.crash_plans import PLANS, PlanCase, run_plan_case
from tests.hive.crashing import Moment, in_child, memory_folder

CASES = pytest.mark.parametrize("case", PLANS.values(), ids=lambda case: case.name)


class Outcome:
    """What a run left: its result, its side effects, its checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.effects = Effects(folder / "effects").read()
        with CheckpointManager(folder / "home") as manager:
            self.runs = sorted(info.name for info in manager.repository.runs())
            self.kinds = [cp.kind for cp in reversed(manager.history(RUN))]
            self.commits = sum(len(manager.history(run)) for run in self.runs)
            self.state = manager.restore(RUN)
            point = manager.resume_point(RUN)
            assert point is not None
            self.execution = point.execution
        self.result = json.loads((folder / "result").read_text())


def comparable(result: PlanExecutionResult) -> dict[str, Any]:
    """Return everything of a result but what names one checkpoint, as JSON data."""
    fields = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name not in {"checkpoint_id", "plan", "approvals"}
    }
    return {
        **fields,
        "plan": result.plan.model_dump(mode="json"),
        "approvals": [request.model_dump(mode="json") for request in result.approvals],
    }


def run_to_end(case: PlanCase, folder: Path, config: CheckpointConfig | None = None) -> None:
    """Run or resume a case in a fresh process, and keep its result in the folder."""

    def job() -> None:
        result = run_plan_case(case.name, folder, None, config)
        (folder / "result").write_text(json.dumps(comparable(result)))

    assert in_child(job) == 0


def completed_at(folder: Path) -> set[str]:
    """Return the steps that the store calls completed."""
    with CheckpointManager(folder / "home") as manager:
        point = manager.resume_point(RUN)
        states = {} if point is None else point.execution["step_states"]
    return {step for step, state in states.items() if state["status"] == "completed"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with memory_folder(tmp_path) as place:
        yield place


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What each case leaves when nothing interrupts it."""
    outcomes = {}
    for case in PLANS.values():
        folder = tmp_path_factory.mktemp(case.name)
        run_to_end(case, folder)
        outcomes[case.name] = Outcome(folder)
    return outcomes


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
    assert outcome.state == outcome.result["results"]


@CASES
@pytest.mark.parametrize("phase", ["before", "inside", "after", "attempt"])
def test_a_plan_killed_at_any_step_and_resumed_ends_like_an_uninterrupted_one(
    case: PlanCase, phase: Any, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    steps = case.attempts if phase == "attempt" else case.commits
    for number in range(1, steps + 1):
        place = folder / str(number)
        place.mkdir()
        moment: Moment = (phase, number)
        status = in_child(
            lambda moment=moment, place=place: run_plan_case(  # type: ignore[misc]
                case.name, place, moment
            )
        )
        assert status == -signal.SIGKILL
        seen = Effects(place / "effects").read()
        completed = completed_at(place)
        run_to_end(case, place)
        outcome = Outcome(place)
        where = f"{case.name}: killed {phase} {number}"
        again = outcome.effects[len(seen) :]
        assert not completed & {item[0] for item in again}, where
        assert outcome.result["results"] == whole.result["results"], where
        if case.status in {"failed", "needs_replan"} and moment == ("after", steps):
            # That the run stopped was saved: resuming it asks for one more attempt.
            assert outcome.result["status"] == case.status, where
            continue
        assert outcome.result == whole.result, where
        assert outcome.state == whole.state, where
        assert _unordered(outcome.execution) == _unordered(whole.execution), where
        assert Counter(outcome.kinds) == Counter(whole.kinds), where
        assert outcome.runs == whole.runs, where
        # Only attempts in flight run again, with the same number and the same key.
        assert not Counter(whole.effects) - Counter(outcome.effects), where
        repeated = Counter(outcome.effects) - Counter(whole.effects)
        assert set(repeated) <= set(seen), where
        assert max(repeated.values(), default=1) == 1, where


@CASES
def test_a_plan_killed_again_and_again_ends_like_an_uninterrupted_one(
    case: PlanCase, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    deaths = 0
    while in_child(lambda: run_plan_case(case.name, folder, ("after", 1))) == -signal.SIGKILL:
        deaths += 1
        if case.status in {"failed", "needs_replan"} and deaths == case.commits:
            break
    # One commit each time; a run that is over commits nothing more and so does not die.
    assert deaths == case.commits
    if case.status not in {"failed", "needs_replan"}:
        run_to_end(case, folder)
        outcome = Outcome(folder)
        assert outcome.result == whole.result
        assert _unordered(outcome.execution) == _unordered(whole.execution)


@CASES
def test_async_durability_loses_at_most_a_tail_and_never_leaves_a_gap(
    case: PlanCase, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    whole = uninterrupted[case.name]
    config = CheckpointConfig(durability="async")
    for number in range(1, case.attempts + 1):
        place = folder / str(number)
        place.mkdir()
        moment: Moment = ("attempt", number)
        status = in_child(
            lambda moment=moment, place=place: run_plan_case(  # type: ignore[misc]
                case.name, place, moment, config, slow_seconds=0.002
            )
        )
        assert status == -signal.SIGKILL
        seen = Effects(place / "effects").read()
        completed = completed_at(place)
        run_to_end(case, place, config)
        outcome = Outcome(place)
        assert not completed & {item[0] for item in outcome.effects[len(seen) :]}
        assert outcome.result == whole.result
        assert _unordered(outcome.execution) == _unordered(whole.execution)
        assert Counter(outcome.kinds) == Counter(whole.kinds)
        assert not Counter(whole.effects) - Counter(outcome.effects)


def test_a_counter_that_is_not_saved_would_be_noticed(
    uninterrupted: dict[str, Outcome], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: children whose executor forgets how many steps it made."""
    to_record = PlanProgress.to_record
    monkeypatch.setattr(PlanProgress, "to_record", lambda self: {**to_record(self), "steps": 0})
    case = PLANS["chain"]
    assert in_child(lambda: run_plan_case("chain", folder, ("after", 3))) == -signal.SIGKILL
    run_to_end(case, folder)
    assert Outcome(folder).result != uninterrupted["chain"].result


@CASES
def test_exit_durability_keeps_pauses_and_ends(
    case: PlanCase, uninterrupted: dict[str, Outcome], folder: Path
) -> None:
    config = CheckpointConfig(durability="exit")
    status = in_child(lambda: run_plan_case(case.name, folder, ("attempt", case.attempts), config))
    assert status == -signal.SIGKILL
    with CheckpointManager(folder / "home") as manager:
        assert {cp.kind for cp in manager.history(RUN)} <= {"paused", "failed"}
    run_to_end(case, folder, config)
    assert Outcome(folder).result == uninterrupted[case.name].result


def _unordered(execution: dict[str, Any]) -> dict[str, Any]:
    """Return an execution record without the order in which independent steps were done."""
    return {
        **execution,
        "path": sorted(execution["path"]),
        "decisions": sorted(
            json.dumps({**decision, "id": ""}, sort_keys=True)
            for decision in execution["decisions"]
        ),
    }
