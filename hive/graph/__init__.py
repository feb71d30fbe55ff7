"""Graphs of nodes and the executor that runs them.

A graph is data (``GraphSpec`` of ``NodeSpec`` and ``EdgeSpec``), a node is a function or an object,
and ``GraphExecutor`` runs one node after the other. With a ``CheckpointManager`` (see
:mod:`hive.graph.checkpoint_manager`) every step is saved and a run that was interrupted continues
as if it had not been; without one this package imports no store.

The executor of plans and what belongs to it (see :mod:`hive.plan`) can be imported from here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hive.graph.context import NodeContext
from hive.graph.edge import EdgeCondition, EdgeSpec
from hive.graph.executor import GraphExecutor
from hive.graph.found import InterruptedRun, ResumePoint
from hive.graph.goal import Constraint, Goal, SuccessCriterion
from hive.graph.memory import SharedMemory
from hive.graph.node import Node, NodeResult, NodeSpec
from hive.graph.parallel import MergeRule, ParallelSpec
from hive.graph.result import ExecutionResult
from hive.graph.runtime import Decision, Outcome, Problem, RunRecord, Runtime
from hive.graph.spec import GraphSpec

if TYPE_CHECKING:
    from hive.plan import FlexibleGraphExecutor, Plan, PlanExecutionResult, PlanStep

__all__ = [
    "Constraint",
    "Decision",
    "EdgeCondition",
    "EdgeSpec",
    "ExecutionResult",
    "FlexibleGraphExecutor",
    "Goal",
    "GraphExecutor",
    "GraphSpec",
    "InterruptedRun",
    "MergeRule",
    "Node",
    "NodeContext",
    "NodeResult",
    "NodeSpec",
    "Outcome",
    "ParallelSpec",
    "Plan",
    "PlanExecutionResult",
    "PlanStep",
    "Problem",
    "ResumePoint",
    "RunRecord",
    "Runtime",
    "SharedMemory",
    "SuccessCriterion",
]

_OF_PLANS: Final = frozenset({"FlexibleGraphExecutor", "Plan", "PlanExecutionResult", "PlanStep"})


def __getattr__(name: str) -> object:
    """Import what is there for plans when it is first asked for: plans build on this package."""
    if name not in _OF_PLANS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hive import plan

    value: object = getattr(plan, name)
    globals()[name] = value
    return value
