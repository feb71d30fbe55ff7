"""One run of a plan, from where it stands to where it ends or a person has to answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.plan.approval import ApprovalDecision, ApprovalRequest
from hive.plan.asking import ApprovalCallback, Asked, ask_about, request_of
from hive.plan.decisions import answered
from hive.plan.judge import JudgmentAction
from hive.plan.order import Order
from hive.plan.sight import clashes, context_after, results_of
from hive.plan.status import ExecutionStatus, StepStatus
from hive.plan.summary import summary
from hive.plan.work import Worked

if TYPE_CHECKING:
    from hive.graph.runtime import RunRecord, Runtime
    from hive.plan.config import ExecutorConfig
    from hive.plan.plan import Plan, PlanStep
    from hive.plan.progress import PlanProgress, StepState
    from hive.plan.recorder import PlanRecorder
    from hive.plan.result import PlanExecutionResult
    from hive.plan.work import Work
    from manifests.kinds import Kind

__all__ = ["PlanExecution"]


class PlanExecution:
    """Drives a run and keeps its progress, which is recorded after each change.

    Steps run in tasks of their own; only ``drive`` changes the progress, one finished task after
    the other, so that every checkpoint is whole.

    Args:
        plan: What to execute; it has no problems.
        progress: Where the run stands.
        config: The limits.
        work: Makes attempts.
        runtime: Has an open report for the run.
        recorder: Saves checkpoints, where there is a manager.
        ask: Asks a person at once; None to pause.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        progress: PlanProgress,
        config: ExecutorConfig,
        work: Work,
        runtime: Runtime,
        recorder: PlanRecorder,
        ask: ApprovalCallback | None,
    ) -> None:
        self._plan = plan
        self._progress = progress
        self._config = config
        self._work = work
        self._runtime = runtime
        self._recorder = recorder
        self._ask = ask
        self._order = Order({step.id: step.dependencies for step in plan.steps})
        self._saving = asyncio.Lock()
        self._under_way: dict[asyncio.Task[Worked | Asked], PlanStep] = {}

    async def drive(self) -> None:
        """Go on until the run ends or a person has to answer."""
        try:
            while self._progress.status is ExecutionStatus.RUNNING:
                self._skip_blocked()
                self._start_ready()
                if self._under_way:
                    await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
                    await self._take_ended()
                else:
                    await self._end()
        except asyncio.CancelledError:
            # A step that held up the event loop while Ctrl-C was pressed ended at the same moment.
            await self._take_ended(unless_raised=True)
            raise
        finally:
            await self._cancel()
        await self._recorder.flush()

    async def save(self, kind: Kind, step: str | None) -> None:
        """Save where the run stands."""
        self._recorder.is_whole = True  # also if it is interrupted while it waits for its turn
        # Steps that save a state of their own do so beside the driver.
        async with self._saving:
            following = [
                other.id
                for other in self._plan.steps
                if self._state(other).status is StepStatus.IN_PROGRESS or self._is_ready(other)
            ]
            await self._recorder.save(kind, step, self._progress, self.context(), following)

    async def save_start(self, kind: Kind) -> None:
        """Save what a caller changed before anything runs; a run that waits or is over stays so."""
        status = self._progress.status
        if status.is_waiting:
            kind = "paused"
        elif status is not ExecutionStatus.RUNNING:
            kind = "failed"
        await self.save(kind, None)

    async def pause(self) -> None:
        """Save that a person stopped the run where it is; it waits for nothing."""
        if self._progress.status is ExecutionStatus.RUNNING and self._recorder.is_whole:
            with contextlib.suppress(errors.HiveError):  # it is in the report
                await self.save("paused", self._last_step())

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do or to save: what interrupts the run now comes too late."""
        return self._progress.status is not ExecutionStatus.RUNNING and self._recorder.has_stopped

    def result(self) -> PlanExecutionResult:
        """Return where the run stands, in copies that are the caller's."""
        result = summary(self._plan, self._progress, self)
        result.run_id, result.checkpoint_id = self._work.run, self._recorder.checkpoint_id
        return result

    def context(self) -> dict[str, Any]:
        """Return the context with what all completed steps added."""
        states = self._progress.step_states
        return context_after(self._order, self._progress.given, results_of(states))

    def requests(self) -> list[ApprovalRequest]:
        """Return what a person has to answer."""
        return [
            self._request(step)
            for step in self._plan.steps
            if self._state(step).status is StepStatus.AWAITING_APPROVAL
        ]

    # Starting steps

    def _skip_blocked(self) -> None:
        """Skip what depends on a step that will never be completed."""
        gone = {StepStatus.REJECTED, StepStatus.SKIPPED}
        for name in self._order.steps:
            states = self._progress.step_states
            blocked = [other for other in self._order.before[name] if states[other].status in gone]
            if blocked and states[name].status is StepStatus.PENDING:
                first = min(blocked, key=self._order.steps.index)
                why = f"it depends on step {first!r}, which is {states[first].status}"
                states[name] = states[name].but(status=StepStatus.SKIPPED, error=why)

    def _start_ready(self) -> None:
        for step in self._plan.steps:
            no_room = len(self._under_way) >= self._config.max_parallel
            if no_room or self._progress.stopping is not None:
                return
            if not self._is_ready(step):
                continue
            state = self._state(step)
            if step.requires_approval and not state.approved:
                if self._ask is None:
                    self._set(step, status=StepStatus.AWAITING_APPROVAL)
                else:
                    request = partial(self._request, step)
                    action = self._work.actions[step.id]
                    self._start(step, ask_about(step, action, request, self._ask))
                continue
            if self._progress.steps + len(self._under_way) >= self._config.max_total_steps:
                if self._under_way:
                    return  # when those are over, it is known how many attempts are left
                self._stop(
                    ExecutionStatus.FAILED,
                    f"max_total_steps ({self._config.max_total_steps}) reached before step "
                    f"{step.id!r}",
                    step,
                )
                return
            seen = self._seen_by(step)
            save = partial(self._save_state, step)
            self._start(step, self._work.attempt(step, state, *seen, save))

    def _is_ready(self, step: PlanStep) -> bool:
        states = self._progress.step_states
        return states[step.id].status is StepStatus.PENDING and all(
            states[other].status is StepStatus.COMPLETED for other in step.dependencies
        )

    def _start(self, step: PlanStep, job: Coroutine[Any, Any, Worked | Asked]) -> None:
        self._set(step, status=StepStatus.IN_PROGRESS)
        self._under_way[asyncio.create_task(job, name=f"step {step.id}")] = step

    def _request(self, step: PlanStep) -> ApprovalRequest:
        return request_of(step, self._state(step), *self._seen_by(step))

    def _seen_by(self, step: PlanStep) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        results = results_of(self._progress.step_states)
        context = context_after(self._order, self._progress.given, results, before=step.id)
        before = self._order.before[step.id]
        return context, {name: results[name] for name in results if name in before}

    # Taking what they gave

    async def _take_ended(self, *, unless_raised: bool = False) -> None:
        """Take what has ended. Of several, the first of the plan is the first: that is certain."""
        for task in list(self._under_way):
            if task.done() and not (unless_raised and _raised(task)):
                del self._under_way[task]
                await self._take(task.result())

    async def _take(self, done: Worked | Asked) -> None:
        if isinstance(done, Asked):
            await self._take_answer(done)
            return
        self._recorder.is_whole = False
        self._progress.steps += 1
        self._progress.total_tokens += done.attempt.result.tokens_used
        self._progress.total_latency_ms += done.attempt.latency_ms
        self._join(done.report)
        step, judgment = done.step, done.judgment
        if judgment.rule_matched or judgment.action != JudgmentAction.ACCEPT:
            self._decided(f"judge step {step.id}", judgment.action, judgment.reasoning, step)
        kind = self._apply(done)
        await self.save(kind, step.id)

    async def _take_answer(self, asked: Asked) -> None:
        step, answer = asked.step, asked.answer
        self._set(step, status=StepStatus.AWAITING_APPROVAL)
        if answer is None:
            self._problem("warning", f"asking about {step.id!r} failed: {asked.error}", step)
            return
        self._recorder.is_whole = False
        self._progress.step_states[step.id] = answered(self._state(step), answer)
        self._decided(f"may step {step.id} run", answer.decision, answer.reason, step)
        if answer.decision is ApprovalDecision.ABORT:
            self._stop(ExecutionStatus.ABORTED, answer.reason or "aborted by a person", step)
        await self.save("answered", step.id)

    def _apply(self, done: Worked) -> Kind:
        """Change the step as its attempt was judged; return the kind of checkpoint."""
        step, judgment = done.step, done.judgment
        state = self._state(step)
        error = done.attempt.result.error
        feedback = judgment.feedback or error
        counted: dict[str, Any] = {"attempts": state.attempts + 1, "feedback": feedback}
        if judgment.action is JudgmentAction.ESCALATE:
            waits = StepStatus.AWAITING_APPROVAL
            self._set(
                step, **counted, status=waits, outputs=done.outputs, error=error, escalated=True
            )
            return "escalated"
        if judgment.action is JudgmentAction.ACCEPT:
            return self._accept(step, done.outputs or {}, counted)
        failed = state.failed_attempts + 1
        error = error or feedback or "the judge did not accept what it gave"
        counted |= {"failed_attempts": failed, "error": error}
        attempt = done.attempt
        is_futile = attempt.final and not attempt.result.success  # as a reference to nothing
        if judgment.action is JudgmentAction.RETRY and failed <= step.max_retries and not is_futile:
            self._set(step, **counted, status=StepStatus.PENDING)
            self._problem("warning", f"attempt {failed} of step {step.id!r}: {error}", step)
            return "attempt_failed"
        self._set(step, **counted, status=StepStatus.FAILED)
        count = "1 attempt" if failed == 1 else f"{failed} attempts"
        reason = f"step {step.id!r} needs another plan after {count}: {feedback or error}"
        self._stop(ExecutionStatus.NEEDS_REPLAN, reason, step)
        return "node_failed"

    def _accept(self, step: PlanStep, outputs: dict[str, Any], counted: dict[str, Any]) -> Kind:
        results = results_of(self._progress.step_states)
        both = clashes(self._order, results, step.id, outputs)
        if both:
            key, other = both[0]
            error = (
                f"steps {other!r} and {step.id!r} both gave {key!r} and neither depends on the "
                "other, so it is not known whose value should stay"
            )
            self._set(step, **counted, status=StepStatus.FAILED, error=error)
            self._stop(ExecutionStatus.FAILED, error, step)
            return "node_failed"
        counted |= {"failed_attempts": 0, "feedback": None, "error": None, "saved": None}
        self._set(step, **counted, status=StepStatus.COMPLETED, outputs=outputs)
        self._progress.path.append(step.id)
        return "node_complete"

    # Ending

    def _stop(self, status: ExecutionStatus, reason: str, step: PlanStep) -> None:
        """Start nothing more; the first reason stays, what is under way is finished."""
        if self._progress.stopping is None:
            self._progress.stopping = status
            self._progress.feedback = reason
            if status is not ExecutionStatus.ABORTED:
                self._progress.error = reason
            self._problem("critical", reason, step)

    async def _end(self) -> None:
        progress = self._progress
        progress.status = progress.stopping or self._verdict()
        if progress.status.is_waiting:
            names = ", ".join(repr(request.step_id) for request in self.requests())
            progress.feedback = f"a person has to answer about {names}"
        kind: Kind = "paused" if progress.status.is_waiting else "failed"
        if progress.status is ExecutionStatus.COMPLETED:
            kind, progress.feedback = "final", None
        await self.save(kind, self._last_step())

    def _verdict(self) -> ExecutionStatus:
        states = self._progress.step_states.values()
        found = {state.status for state in states}
        if StepStatus.AWAITING_APPROVAL in found:
            escalated = any(state.escalated for state in states)
            return (
                ExecutionStatus.NEEDS_ESCALATION if escalated else ExecutionStatus.AWAITING_APPROVAL
            )
        if StepStatus.REJECTED in found:
            rejected = [
                name
                for name, state in self._progress.step_states.items()
                if state.status is StepStatus.REJECTED
            ]
            self._progress.feedback = f"rejected: {', '.join(map(repr, rejected))}"
            return ExecutionStatus.REJECTED
        return ExecutionStatus.COMPLETED

    async def _cancel(self) -> None:
        """End what is under way when the run is cut short; it runs again at a resume."""
        tasks = list(self._under_way)
        self._under_way.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The report

    def _join(self, report: RunRecord) -> None:
        record = self._runtime.record(self._work.run)
        for decision in report.decisions:
            record.decisions.append(replace(decision, id=f"d{len(record.decisions) + 1}"))
        record.problems += report.problems

    def _decided(self, intent: str, chosen: str, why: str | None, step: PlanStep) -> None:
        self._runtime.decide(
            intent, chosen=str(chosen), reasoning=why or "", node_id=step.id, run=self._work.run
        )

    def _problem(self, severity: Any, text: str, step: PlanStep) -> None:
        self._runtime.report_problem(severity, text, node_id=step.id, run=self._work.run)

    async def _save_state(self, step: PlanStep, state: Any) -> None:
        """Record what a step under way wants to find when it is interrupted."""
        self._set(step, saved=state)
        await self.save("node_progress", step.id)

    def _last_step(self) -> str | None:
        return self._progress.path[-1] if self._progress.path else None

    def _state(self, step: PlanStep) -> StepState:
        return self._progress.step_states[step.id]

    def _set(self, step: PlanStep, **changes: Any) -> None:
        self._progress.step_states[step.id] = self._state(step).but(**changes)


def _raised(ended: asyncio.Task[Any]) -> bool:
    return ended.cancelled() or ended.exception() is not None
