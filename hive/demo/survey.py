"""The document survey as a graph: find, read (a loop), index, rank, summarise, report.

Run it on its own with ``hive run hive.demo.survey:graph --input '{"folder": "docs"}'``: the report
is written into the current folder, and every step is logged there (see ``hive.demo.effects``).
"""

from __future__ import annotations

import inspect
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from hive.demo import steps
from hive.demo.effects import LOG_NAME, Effect, append_effect
from hive.graph import EdgeCondition, EdgeSpec, Goal, GraphSpec, NodeContext, NodeSpec

__all__ = ["REPORT_NAME", "graph", "hold_path"]

REPORT_NAME: Final = "report.md"
HOLD_SECONDS: Final = 30.0
"""A node never waits longer than this for its hold to go, so that no process is left behind."""

HANDED_ON: Final = {"unread": "unread"}
"""What a node hands to the next one. A node that wants more reads it from memory: handed on whole,
its predecessor's output would be part of every checkpoint a second time."""

Step = Callable[..., dict[str, Any]]

STEPS: tuple[tuple[Step, list[str], str], ...] = (
    (steps.find, ["folder", "files", "left_out", "unread", "documents", "pieces"], "Find files"),
    (steps.read, ["unread", "left_out", "documents", "pieces"], "Read and split a few files"),
    (steps.index, ["weights", "vocabulary"], "Weigh the words of each document"),
    (steps.rank, ["links", "centrality"], "Link documents that are alike, rank them"),
    (steps.summarise, ["summaries"], "Pick sentences that stand for a document"),
    (steps.report, ["report"], "Write the page"),
)


def graph() -> tuple[GraphSpec, Goal]:
    """Return the graph and its goal."""
    names = [step.__name__ for step, _, _ in STEPS]
    return (
        GraphSpec(
            id="survey",
            goal_id="survey",
            description="Survey the documents of a folder",
            entry_node="find",
            terminal_nodes=["report"],
            nodes=[
                NodeSpec(
                    id=step.__name__,
                    description=description,
                    input_keys=list(inspect.signature(step).parameters),
                    output_keys=output_keys,
                    retry_on=["OSError"],
                    function=_logged(step),
                )
                for step, output_keys, description in STEPS
            ],
            edges=[
                EdgeSpec(
                    id="read-on",
                    source="read",
                    target="read",
                    condition=EdgeCondition.CONDITIONAL,
                    condition_expr="unread > 0",
                    input_mapping=HANDED_ON,
                    priority=1,
                ),
                *(
                    EdgeSpec(
                        id=f"{source}-{target}",
                        source=source,
                        target=target,
                        input_mapping=HANDED_ON,
                    )
                    for source, target in itertools.pairwise(names)
                ),
            ],
        ),
        Goal(
            id="survey",
            name="Survey a folder",
            description="Say which documents of a folder matter and what they say",
        ),
    )


def hold_path(work: Path, node: str) -> Path:
    """The file that keeps ``node`` waiting while it exists.

    The demo's driver holds a node that it is going to kill, so that the node is under way when the
    signal comes.
    """
    return work / f"hold-{node}"


def _logged(step: Step) -> Step:
    """Make a step a node that logs its start and end, and leaves its page in the current folder."""

    def run(ctx: NodeContext, **given: Any) -> dict[str, Any]:
        work = Path.cwd()
        _log(work, "started", ctx)
        deadline = time.monotonic() + HOLD_SECONDS
        while hold_path(work, ctx.node_id).exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        added = step(**given)
        if "report" in added:
            (work / REPORT_NAME).write_text(added["report"], encoding="utf-8")
        _log(work, "finished", ctx)
        return added

    return run


def _log(work: Path, event: Any, ctx: NodeContext) -> None:
    append_effect(
        work / LOG_NAME,
        Effect(
            event=event,
            node=ctx.node_id,
            visit=ctx.visit,
            attempt=ctx.attempt,
            key=ctx.idempotency_key,
            pid=os.getpid(),
        ),
    )
