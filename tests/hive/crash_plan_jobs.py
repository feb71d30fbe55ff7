"""What the processes of the crash tests of plans do: run a case, and say what it left."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from hive.graph.checkpoint_manager import CheckpointManager
from hive.plan import PlanExecutionResult
from hive.schemas.checkpoint import CheckpointConfig
from tests.hive.crash_graphs import RUN, Effects
from tests.hive.crash_plans import run_plan_case

__all__ = ["finish", "run"]


def run(
    name: str, place: str, phase: str | None, number: int, durability: str, slow_seconds: float
) -> None:
    """Launch a case, which may die of it."""
    moment: Any = None if phase is None else (phase, number)
    config = CheckpointConfig.model_validate({"durability": durability})
    run_plan_case(name, Path(place), moment, config, slow_seconds=slow_seconds)


def finish(name: str, place: str, durability: str) -> None:
    """Launch a case to its end, and write down what was there before and what is there now."""
    folder = Path(place)
    effects = Effects(folder / "effects")
    before = len(effects.read())
    completed: list[str] = []
    kinds: list[str] = []
    with CheckpointManager(folder / "home") as manager:
        point = manager.resume_point(RUN)
        if point is not None:
            kinds = [cp.kind for cp in manager.history(RUN)]
            states = point.execution["step_states"]
            completed = [step for step in states if states[step]["status"] == "completed"]
    config = CheckpointConfig.model_validate({"durability": durability})
    result = run_plan_case(name, folder, None, config)
    with CheckpointManager(folder / "home") as manager:
        runs = sorted(info.name for info in manager.repository.runs())
        point = manager.resume_point(RUN)
        assert point is not None
        outcome = {
            "result": comparable(result),
            "state": repr(point.state),
            "execution": _unordered(point.execution),
            "kinds": [cp.kind for cp in reversed(manager.history(RUN))],
            "commits": sum(len(manager.history(run)) for run in runs),
            "runs": runs,
            "before": before,
            "kinds_before": kinds,
            "completed": completed,
            "effects": effects.read(),
        }
    (folder / "outcome").write_text(json.dumps(outcome))


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


def _unordered(execution: dict[str, Any]) -> str:
    """Write an execution record without the order in which independent steps were done."""
    decisions = [{**decision, "id": ""} for decision in execution["decisions"]]
    ordered = {
        **execution,
        "path": sorted(execution["path"]),
        "decisions": sorted(map(repr, decisions)),
    }
    return repr(sorted(ordered.items()))
