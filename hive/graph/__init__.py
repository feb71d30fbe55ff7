"""Graphs of nodes and the executor that runs them.

A graph is data (``GraphSpec`` of ``NodeSpec`` and ``EdgeSpec``), a node is a function or an object,
and ``GraphExecutor`` runs one node after the other. With a ``CheckpointManager`` (see
:mod:`hive.graph.checkpoint_manager`) every step is saved and a run that was interrupted continues
as if it had not been; without one this package imports no store.
"""

from __future__ import annotations

from hive.graph.context import NodeContext
from hive.graph.edge import EdgeCondition, EdgeSpec
from hive.graph.executor import GraphExecutor
from hive.graph.goal import Constraint, Goal, SuccessCriterion
from hive.graph.memory import SharedMemory
from hive.graph.node import Node, NodeResult, NodeSpec
from hive.graph.result import ExecutionResult
from hive.graph.runtime import Decision, Outcome, Problem, RunRecord, Runtime
from hive.graph.spec import GraphSpec

__all__ = [
    "Constraint",
    "Decision",
    "EdgeCondition",
    "EdgeSpec",
    "ExecutionResult",
    "Goal",
    "GraphExecutor",
    "GraphSpec",
    "Node",
    "NodeContext",
    "NodeResult",
    "NodeSpec",
    "Outcome",
    "Problem",
    "RunRecord",
    "Runtime",
    "SharedMemory",
    "SuccessCriterion",
]
