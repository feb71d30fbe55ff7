"""An agent: what its runs execute, and with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hive.graph.goal import Goal
from hive.graph.node import Node
from hive.graph.spec import GraphSpec
from hive.plan.config import ExecutorConfig
from hive.plan.judge import Judge, JudgeFunction
from hive.plan.plan import Plan

if TYPE_CHECKING:
    from hive.graph.schema import StateSchema
    from hive.schemas.checkpoint import CheckpointConfig
    from manifests import Redaction, Registry

__all__ = ["Agent"]


@dataclass(frozen=True, kw_only=True)
class Agent:
    """A graph or a plan with everything that is needed to run it.

    Attributes:
        work: The graph or the plan.
        goal: What it is for; made up from the work's id if None.
        functions: What runs for node ids of a graph, or for action names of a plan.
        nodes: Node objects, for node ids or action names.
        graphs: For a plan: graphs that its steps run, by action name.
        judge: For a plan: judges its steps.
        limits: For a plan: the executor's limits.
        checkpoints: How checkpoints are saved and kept, unless the runner is told otherwise.
        registry: The classes that the states of runs may hold.
        schema: The version of the states of runs, and the migrations to it.
        redact: Replaces secrets before anything of a run is stored.
    """

    work: GraphSpec | Plan
    goal: Goal | None = None
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    graphs: Mapping[str, GraphSpec] = field(default_factory=dict)
    judge: Judge | JudgeFunction | None = None
    limits: ExecutorConfig | None = None
    checkpoints: CheckpointConfig | None = None
    registry: Registry | None = None
    schema: StateSchema | None = None
    redact: Redaction | None = None

    @property
    def id(self) -> str:
        """The id of the graph or plan."""
        return self.work.id

    @property
    def purpose(self) -> Goal:
        """The goal, or one named after the work."""
        if self.goal is not None:
            return self.goal
        kind = "plan" if isinstance(self.work, Plan) else "graph"
        name = self.work.goal_id or self.id
        return Goal(id=name, name=self.id, description=f"Run the {kind} {self.id}.")
