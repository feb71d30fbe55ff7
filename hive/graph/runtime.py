"""What a run decided and met: decisions, their outcomes, problems. In memory, without a store.

A checkpoint carries the decisions so far, so that a resumed run has the whole story. There are no
times in it: a resumed run records exactly what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from hive import errors

__all__ = ["Decision", "Outcome", "Problem", "RunRecord", "Runtime", "Severity"]

Severity = Literal["info", "warning", "critical"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a decision."""

    success: bool
    summary: str = ""
    error: str | None = None
    tokens_used: int = 0
    latency_ms: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice made in a run. ``id`` is unique in the run and counts up from ``d1``."""

    id: str
    intent: str
    chosen: str
    options: tuple[str, ...] = ()
    reasoning: str = ""
    node_id: str | None = None
    outcome: Outcome | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the decision as plain data, for a checkpoint."""
        return {**asdict(self), "options": list(self.options)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Decision:
        """Rebuild a decision from what ``to_record`` returned."""
        outcome = record["outcome"]
        return cls(
            **{
                **record,
                "options": tuple(record["options"]),
                "outcome": None if outcome is None else Outcome(**outcome),
            }
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that went wrong in a run, whether or not the run went on."""

    severity: Severity
    description: str
    node_id: str | None = None


@dataclass(slots=True)
class RunRecord:
    """The report of one run. ``success`` is None while the run goes on."""

    run: str
    goal_id: str
    goal_description: str = ""
    input_data: dict[str, Any] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    success: bool | None = None
    narrative: str = ""
    output_data: dict[str, Any] = field(default_factory=dict)


class Runtime:
    """The reports of the runs of this process, by run name. Several runs may go on at once."""

    def __init__(self) -> None:
        """Start without runs."""
        self._records: dict[str, RunRecord] = {}
        self._prefix = ""

    def start_run(
        self,
        goal_id: str,
        goal_description: str = "",
        input_data: Mapping[str, Any] | None = None,
        *,
        run: str | None = None,
        decisions: Iterable[Decision] = (),
    ) -> str:
        """Open the report of a run and return the run's name.

        Args:
            goal_id: The goal's id.
            goal_description: For people.
            input_data: What the run was given.
            run: The run's name; ``run-1``, ``run-2``, ... if None. A report of that name that
                exists is replaced: the run was resumed.
            decisions: What the run had decided before it was resumed.
        """
        if run is None:
            number = len(self._records) + 1
            while f"run-{number}" in self._records:
                number += 1
            run = f"run-{number}"
        self._records[run] = RunRecord(
            run, goal_id, goal_description, dict(input_data or {}), list(decisions)
        )
        return run

    def end_run(
        self,
        success: bool,
        narrative: str = "",
        output_data: Mapping[str, Any] | None = None,
        *,
        run: str | None = None,
    ) -> None:
        """Close the report of a run."""
        record = self.record(run)
        record.success = success
        record.narrative = narrative
        record.output_data = dict(output_data or {})

    def decide(
        self,
        intent: str,
        *,
        chosen: str,
        options: Sequence[str] = (),
        reasoning: str = "",
        node_id: str | None = None,
        run: str | None = None,
    ) -> str:
        """Record a decision and return its id."""
        decisions = self.record(run).decisions
        decision_id = f"{self._prefix}d{len(decisions) + 1}"
        decision = Decision(decision_id, intent, chosen, tuple(options), reasoning, node_id)
        decisions.append(decision)
        return decision.id

    def record_outcome(
        self,
        decision_id: str,
        success: bool,
        *,
        summary: str = "",
        error: str | None = None,
        tokens_used: int = 0,
        latency_ms: int = 0,
        run: str | None = None,
    ) -> None:
        """Record what came of a decision.

        Raises:
            NotFoundError: The run has no decision of that id.
        """
        decisions = self.record(run).decisions
        for index, decision in enumerate(decisions):
            if decision.id == decision_id:
                outcome = Outcome(success, summary, error, tokens_used, latency_ms)
                decisions[index] = replace(decision, outcome=outcome)
                return
        raise errors.NotFoundError(f"there is no decision {decision_id!r} in this run")

    def report_problem(
        self,
        severity: Severity,
        description: str,
        *,
        node_id: str | None = None,
        run: str | None = None,
    ) -> None:
        """Record that something went wrong."""
        self.record(run).problems.append(Problem(severity, description, node_id))

    def branch(self, run: str, prefix: str, decisions: Iterable[Mapping[str, Any]] = ()) -> Runtime:
        """Return what a branch of a run reports to: its decisions are kept apart until it ends.

        So their order does not depend on which of the branches was faster. Problems are reported
        at once.

        Args:
            run: Name of the run.
            prefix: Begins the ids of its decisions.
            decisions: What it decided before it was resumed, as records.
        """
        return _BranchRuntime(self, run, prefix, decisions)

    def record(self, run: str | None = None) -> RunRecord:
        """Return the report of a run, by default of the only one that goes on, else the last one.

        Raises:
            NotFoundError: There is no such run.
            InvalidInputError: No name was given and several runs go on.
        """
        if run is not None:
            if run not in self._records:
                raise errors.NotFoundError(f"this runtime has no run {run!r}")
            return self._records[run]
        going_on = [record for record in self._records.values() if record.success is None]
        if len(going_on) > 1:
            names = ", ".join(repr(record.run) for record in going_on)
            raise errors.InvalidInputError(f"several runs go on ({names}): pass run=")
        if not self._records:
            raise errors.NotFoundError("this runtime has no run yet: call start_run")
        return going_on[0] if going_on else list(self._records.values())[-1]

    def runs(self) -> list[RunRecord]:
        """Return the reports of all runs, oldest first."""
        return list(self._records.values())


class _BranchRuntime(Runtime):
    """Keeps the decisions of one branch, and passes its problems on."""

    def __init__(
        self, parent: Runtime, run: str, prefix: str, decisions: Iterable[Mapping[str, Any]]
    ) -> None:
        super().__init__()
        whole = parent.record(run)
        self._parent = parent
        self._prefix = f"{parent._prefix}{prefix}."
        self.start_run(
            whole.goal_id,
            whole.goal_description,
            run=run,
            decisions=[Decision.from_record(item) for item in decisions],
        )

    def report_problem(
        self,
        severity: Severity,
        description: str,
        *,
        node_id: str | None = None,
        run: str | None = None,
    ) -> None:
        """Report to the run that the branch belongs to."""
        self._parent.report_problem(severity, description, node_id=node_id, run=run)
