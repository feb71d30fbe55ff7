"""Where a call of ``execute_plan`` starts: a new run, or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.background import in_thread
from hive.graph.copies import copy_value
from hive.graph.discretion import Discretion, news_in
from hive.graph.fingerprint import canonical_text, changes_of, shortened, text_of
from hive.graph.found import ResumePoint, point_of, unused_name
from hive.graph.records import reading
from hive.graph.runtime import Decision
from hive.plan.decisions import answer_all, came_too_late
from hive.plan.progress import PlanProgress
from hive.plan.replan import adopt, restart
from hive.plan.status import ExecutionStatus, StepStatus
from hive.text import count

if TYPE_CHECKING:
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.graph.goal import Goal
    from hive.plan.plan import Plan
    from manifests import Checkpoint
    from manifests.kinds import Kind

__all__ = ["PlanStart", "PlanStartRequest"]


@dataclass(slots=True)
class PlanStart:
    """The beginning of one execution.

    Attributes:
        run: Name of the run.
        progress: Where it stands.
        decisions: What it decided before.
        tip: The run's head, which the next checkpoint goes on top of; None if the run is new.
        unsaved: The kind of checkpoint for what no checkpoint of the run has yet; None if there is
            nothing.
        late: The steps whose answers change nothing, as the run was aborted before.
    """

    run: str
    progress: PlanProgress
    decisions: list[Decision] = field(default_factory=list)
    tip: Checkpoint | None = None
    unsaved: Kind | None = None
    late: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlanStartRequest:
    """What a caller of ``execute_plan`` asked for."""

    plan: Plan
    goal: Goal
    context: dict[str, Any]
    approvals: Mapping[str, Any]
    run: str | None
    accept_changed_plan: bool
    max_replans: int

    async def new_run(self, manager: CheckpointManager | None) -> PlanStart:
        """Begin a run with what the plan says of its steps.

        Raises:
            ConflictError: The store has a run of that name.
        """
        run = await unused_name(manager, self.run, self.plan.id)
        given = copy_value(self.context, "context")
        progress = PlanProgress.of(self.plan, given)
        answer_all(self.plan, progress, self.approvals)
        return PlanStart(run, progress, unsaved="input")

    async def from_checkpoint(self, manager: CheckpointManager, ref: str | None) -> PlanStart:
        """Continue a run at its head, or from an earlier checkpoint as a fork.

        Args:
            manager: Holds the run.
            ref: The checkpoint; the head of the requested run if None.

        Raises:
            InvalidInputError: No run was named, or it cannot take what the caller brings.
            NotFoundError: There is no such checkpoint.
            ConflictError: Plan or goal changed, or the run's head is not the executor's.
        """
        point, is_own = await point_of(manager, self.run, ref)
        if point is None:
            return await self.new_run(manager)
        if is_own:
            point.refuse_foreign_head("an executor")
            return self._from_point(point)
        # Everything is checked before the fork exists, so that a refusal leaves nothing behind.
        start = self._from_point(point)
        start.tip = await in_thread(partial(manager.fork, point.checkpoint, self.run))
        start.run = start.tip.run
        return start

    def _from_point(self, point: ResumePoint) -> PlanStart:
        with reading(point.checkpoint.run):
            start = self._read(point)
        waited = start.progress.status
        self._add_context(start, point.discretion)
        if answer_all(self.plan, start.progress, self.approvals):
            start.unsaved = "answered"
        if waited is ExecutionStatus.ABORTED:
            start.late = came_too_late(start.progress, self.approvals)
        if waited in {ExecutionStatus.NEEDS_REPLAN, ExecutionStatus.FAILED}:
            restart(start.progress)
        return start

    def _read(self, point: ResumePoint) -> PlanStart:
        """Return where a run stands, with the plan as it is now."""
        run, record = point.checkpoint.run, point.execution
        progress = PlanProgress.from_record(copy_value(dict(record), "execution"))
        start = PlanStart(
            run,
            progress,
            [Decision.from_record(item) for item in record.get("decisions", ())],
            point.checkpoint,
        )
        for name, state in progress.step_states.items():
            if state.status is StepStatus.IN_PROGRESS:
                progress.step_states[name] = state.but(status=StepStatus.PENDING)
        stored = None if point.discretion is None else point.discretion.text
        plan = text_of(self.plan.definition())
        changed = changes_of(record, {"plan": plan, "goal": canonical_text(self.goal)}, stored)
        if changed:
            before = record["plan"]
            self._change(start, changed, [before, plan if stored is None else stored(plan)])
        for step in self.plan.steps:
            progress.step_states[step.id]  # where each stands is known
        return start

    def _change(self, start: PlanStart, changed: list[str], texts: list[str]) -> None:
        """Put a changed plan in the place of the old one, if that is what was asked for.

        ``texts`` are those of the old plan and of the new one, as they are stored.
        """
        progress = start.progress
        only_plan = not any(line.startswith("goal") for line in changed)
        asked_for = progress.status in {
            ExecutionStatus.NEEDS_REPLAN,
            ExecutionStatus.NEEDS_ESCALATION,
            ExecutionStatus.FAILED,
            ExecutionStatus.REJECTED,
        }
        is_replan = only_plan and asked_for and self.plan.revision > progress.revision
        if not is_replan and not self.accept_changed_plan:
            shown = "; ".join(shortened(changed))
            raise errors.ConflictError(
                f"run {start.run!r} was made with another plan or goal ({shown}); "
                "resume it with the old one, give a plan that a replan asked for a higher "
                "revision, or pass accept_changed_plan=True (`hive resume --accept-changes`)",
                run=start.run,
            )
        if is_replan and progress.replans >= self.max_replans:
            raise errors.LimitError(
                f"run {start.run!r} has had {count(progress.replans, 'new plan')}, as many as "
                "max_replans allows; raise that limit, or start another run"
            )
        if not all(line.startswith("goal") for line in changed):
            adopt(self.plan, progress, *texts)
        start.unsaved = "input"

    def _add_context(self, start: PlanStart, discretion: Discretion | None) -> None:
        """Add context that a run which stopped did not have before."""
        progress = start.progress
        news = news_in(self.context, progress.inputs, discretion)
        over = {ExecutionStatus.COMPLETED, ExecutionStatus.REJECTED, ExecutionStatus.ABORTED}
        takes_none = progress.status in over or (
            progress.status is ExecutionStatus.RUNNING and start.unsaved is None
        )
        # Whoever asks again and again whether somebody answered gives secrets that nobody needs.
        only_asks = progress.status.is_waiting and not self.approvals
        if not news.fields or (news.is_known and (takes_none or only_asks)):
            return
        if takes_none:
            # The usual caller passes the same context at every start of its process. Other
            # context would have to be mixed into work that is under way, or be ignored.
            state = "over" if progress.status in over else "under way"
            raise errors.InvalidInputError(
                f"run {start.run!r} is {state} and takes no new context: resume it with the "
                "context it was started with or with none, or start another run"
            )
        added = copy_value(news.fields, "context")
        progress.given = {**progress.given, **added}
        progress.inputs.append(added)
        start.unsaved = start.unsaved or "input"
