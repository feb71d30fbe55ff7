"""What the processes of the crash tests do: run a case, and say what it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hive.graph.checkpoint_manager import CheckpointManager
from hive.graph.progress import Progress
from hive.graph.totals import totals_of
from hive.schemas.checkpoint import CheckpointConfig
from tests.hive.crash_graphs import FAMILY, RUN, Effects
from tests.hive.crashing import comparable, run_case

__all__ = ["finish", "run"]


def run(
    name: str, place: str, phase: str | None, number: int, durability: str, slow_seconds: float
) -> None:
    """Launch a case, which may die of it."""
    moment: Any = None if phase is None else (phase, number)
    config = CheckpointConfig.model_validate({"durability": durability})
    run_case(name, Path(place), moment, config, slow_seconds=slow_seconds)


def finish(name: str, place: str, durability: str) -> None:
    """Launch a case to its end, and write down what was there before and what is there now."""
    folder = Path(place)
    effects = Effects(folder / "effects")
    before = len(effects.read())
    completed: dict[str, int] = {}
    with CheckpointManager(folder / "home") as manager:
        point = manager.resume_point(RUN)
        if point is not None:
            progress = Progress.from_record(point.execution)
            completed = totals_of(progress).visits
            if progress.status == "failed":  # the visits that failed are made again
                for node in FAMILY[name].again:
                    completed.pop(node, None)
    config = CheckpointConfig.model_validate({"durability": durability})
    result = run_case(name, folder, None, config)
    with CheckpointManager(folder / "home") as manager:
        history = list(reversed(manager.history(RUN)))
        point = manager.resume_point(RUN)
        assert point is not None
        outcome = {
            "result": comparable(result),
            "state": repr(point.state),
            "execution": repr(point.execution),
            "kinds": [cp.kind for cp in history],
            "sequences": [cp.sequence for cp in history],
            "before": before,
            "completed": completed,
            "effects": effects.read(),
            "charges": effects.charges(),
        }
    (folder / "outcome").write_text(json.dumps(outcome))
