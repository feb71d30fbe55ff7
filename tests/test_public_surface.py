"""The public names, pinned by hand: a name comes or goes on purpose, never by accident."""

from __future__ import annotations

import importlib

import pytest

SURFACE = {
    "hive": """
        AccessError AgentRunner CheckpointConfig CheckpointManager ConflictError
        CorruptObjectError CorruptStoreError CorruptionError HiveError InvalidInputError
        LimitError MissingObjectError NotFoundError ReadOnlyStoreError Repository
        StateSchema StoreFullError UnsupportedFormatError open
    """,
    "hive.adapters.langgraph": """
        HiveSaver rebuilt_names
    """,
    "hive.errors": """
        AccessError ConflictError CorruptObjectError CorruptStoreError CorruptionError
        HiveError InvalidInputError LimitError MissingObjectError NotFoundError
        ReadOnlyStoreError StoreFullError UnsupportedFormatError
    """,
    "hive.graph": """
        Constraint Decision EdgeCondition EdgeSpec ExecutionResult FlexibleGraphExecutor
        Goal GraphExecutor GraphSpec InterruptedRun MergeRule Node NodeContext NodeResult
        NodeSpec Outcome ParallelSpec Plan PlanExecutionResult PlanStep Problem ResumePoint
        RunRecord Runtime SharedMemory SuccessCriterion
    """,
    "hive.graph.events": """
        AttemptEnded RunBegan RunEnded SaveFailed SaveRetried
    """,
    "hive.plan": """
        ActionSpec ActionType ApprovalDecision ApprovalRequest ApprovalResult EvaluationRule
        ExecutionStatus ExecutorConfig FlexibleGraphExecutor HybridJudge Judge Judgment
        JudgmentAction Plan PlanExecutionResult PlanStep StepOutcome StepStatus
    """,
    "hive.runner": """
        Agent AgentRun AgentRunner RunResult Wait
    """,
    "hive.telemetry": """
        SCOPE instrument
    """,
    "manifests.events": """
        Compacted Event Failed Forgot Forked GarbageCollected Restored RunDeleted Saved
    """,
    "manifests": """
        Branch Change CheckReport Checkpoint Clock CompactReport Compared Damage Digest
        Event Events Excerpt ExportReport Footprint ForgetPlan GcReport ImportReport
        KeepEvery Match OnEvent Outline Part PendingWrite Pin PreparedCommit Progress Reason
        RecordedEffect Redaction RefLike Registry RepairReport Repository RetentionPolicy
        RunInfo RunStats SalvageReport Snapshot StoreStats Touched TreeParameters Unread
        UnreadableRun UnregisteredValue Verdict salvage system_clock
    """,
}


@pytest.mark.parametrize("module", SURFACE)
def test_the_public_names_are_these(module: str) -> None:
    found = importlib.import_module(module)
    assert sorted(found.__all__) == SURFACE[module].split()
    for name in found.__all__:
        assert getattr(found, name) is not None
