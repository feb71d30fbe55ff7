"""Plans and the executor that runs them.

A plan is data: steps that depend on one another, made by a planner outside. A step runs a
registered function, node object or graph; a judge accepts what it gave, has it tried again, asks
for another plan or for a person. With a ``CheckpointManager`` every judged step is saved, and a
run that was interrupted continues as if it had not been.
"""

from __future__ import annotations

from hive.plan.approval import ApprovalDecision, ApprovalRequest, ApprovalResult
from hive.plan.config import ExecutorConfig
from hive.plan.executor import FlexibleGraphExecutor
from hive.plan.judge import (
    EvaluationRule,
    HybridJudge,
    Judge,
    Judgment,
    JudgmentAction,
    StepOutcome,
)
from hive.plan.plan import ActionSpec, ActionType, Plan, PlanStep
from hive.plan.result import PlanExecutionResult
from hive.plan.status import ExecutionStatus, StepStatus

__all__ = [
    "ActionSpec",
    "ActionType",
    "ApprovalDecision",
    "ApprovalRequest",
    "ApprovalResult",
    "EvaluationRule",
    "ExecutionStatus",
    "ExecutorConfig",
    "FlexibleGraphExecutor",
    "HybridJudge",
    "Judge",
    "Judgment",
    "JudgmentAction",
    "Plan",
    "PlanExecutionResult",
    "PlanStep",
    "StepOutcome",
    "StepStatus",
]
