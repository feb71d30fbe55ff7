"""``FlexibleGraphExecutor``: executes plans, judges every step, resumes exactly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.arguments import (
    check_instance,
    check_resume,
    check_services,
    enabled,
    text_keyed,
)
from hive.graph.executor import GraphExecutor
from hive.graph.goal import Goal
from hive.graph.recording import recording
from hive.graph.services import Effects
from hive.plan.actions import Actions, GraphAction, check_answer
from hive.plan.approval import ApprovalResult
from hive.plan.asking import ApprovalCallback
from hive.plan.config import ExecutorConfig
from hive.plan.execution import PlanExecution
from hive.plan.judge import Judge, JudgeFunction, judge_of
from hive.plan.plan import Plan
from hive.plan.problems import problems_of
from hive.plan.recorder import PlanRecorder
from hive.plan.start import PlanStart, PlanStartRequest
from hive.plan.status import ExecutionStatus
from hive.plan.work import Work
from hive.text import kind_of

if TYPE_CHECKING:
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.graph.node import Node
    from hive.graph.runtime import Runtime
    from hive.graph.spec import GraphSpec
    from hive.plan.approval import Answer
    from hive.plan.result import PlanExecutionResult

__all__ = ["FlexibleGraphExecutor"]


class FlexibleGraphExecutor:
    """Executes plans: steps that depend on one another, each judged before it counts.

    ::

        executor = FlexibleGraphExecutor(Runtime(), CheckpointManager("/srv/agents"))
        executor.register_function("search", search)
        result = await executor.execute_plan(plan, goal, {"topic": "bees"}, run="report-1")
        if result.status == "awaiting_approval":
            result = await executor.execute_plan(
                plan, goal, run="report-1", resume=True, approvals={"send": True}
            )

    A run that was interrupted at any moment and is resumed ends as one that was not: same
    results, statuses and counters; completed steps ran once. A step that was under way runs
    again, with the same ``ctx.attempt`` and ``ctx.idempotency_key``.

    Args:
        runtime: Receives the reports of the runs.
        checkpoint_manager: Where checkpoints go; without one nothing is saved.
        functions: ``{name: function}``, as ``register_function`` would add them.
        judge: A judge, or a function ``(step, outcome, goal, context)`` that returns a judgment;
            by default successes are accepted and failures retried.
        approval_callback: Asks a person at once; without it a step that needs an approval pauses
            the run, once nothing else can be done.
        config: Limits.
        sleep: Waits before retries, in seconds.
        timer: A monotonic clock in seconds, for latencies.
    """

    def __init__(
        self,
        runtime: Runtime,
        checkpoint_manager: CheckpointManager | None = None,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        judge: Judge | JudgeFunction | None = None,
        *,
        approval_callback: ApprovalCallback | None = None,
        config: ExecutorConfig | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_services(runtime, checkpoint_manager)
        self.runtime = runtime
        self.checkpoint_manager = checkpoint_manager
        self._judge = judge_of(judge)
        if approval_callback is not None and not callable(approval_callback):
            raise errors.InvalidInputError(
                f"approval_callback is a function or None, not {kind_of(approval_callback)}"
            )
        self._ask = approval_callback
        self._config = ExecutorConfig() if config is None else config
        check_instance(self._config, ExecutorConfig, "config")
        self._sleep = sleep
        self._timer = timer
        self._actions = Actions()
        for name, function in text_keyed("functions", functions).items():
            self.register_function(name, function)

    def register_function(
        self, name: str, function: Callable[..., Any], *, in_thread: bool = False
    ) -> None:
        """Make a sync or async function what steps of that action run.

        It is called with the step's inputs as keyword arguments; parameters without an input take
        the context's value of that name. A parameter named ``ctx`` receives the ``NodeContext``,
        one named ``feedback`` what the judge said of the attempt before. A mapping that it returns
        joins the context under its own keys, those of ``expected_outputs`` where the step declares
        them; any other value goes to the single expected output, else to the step's id.

        Args:
            name: The action's name.
            function: The function. Steps that run at the same time share the event loop: an async
                function lets others go on while it waits.
            in_thread: Run a sync function in a thread, so that it does not hold up the others. It
                must be safe to run in parallel with them, and is not stopped by a cancellation.
        """
        self._actions.add_function(name, function, in_thread=in_thread)

    def register_node(self, name: str, node: Node) -> None:
        """Make an object with ``async execute(ctx) -> NodeResult`` what steps of that name run."""
        self._actions.add_node(name, node)

    def register_graph(
        self,
        name: str,
        graph: GraphSpec,
        goal: Goal | None = None,
        *,
        executor: GraphExecutor | None = None,
    ) -> None:
        """Make a graph what steps of that name run, as a run of its own with checkpoints.

        Args:
            name: The action's name.
            graph: The graph. It must not pause: let the step require an approval instead.
            goal: What it is for; by default the goal of the plan's run.
            executor: Has the graph's functions and nodes; by default one that knows those of its
                ``NodeSpec``s and saves where this executor does.

        Raises:
            InvalidInputError: The graph has problems, or pause nodes.
        """
        problems = graph.validate()
        if graph.pause_nodes:
            problems.append("graph.pause_nodes: a step of a plan cannot pause inside its graph")
        if problems:
            raise errors.InvalidInputError(f"graph {graph.id!r}: {'; '.join(problems)}")
        if executor is None:
            executor = GraphExecutor(
                self.runtime, self.checkpoint_manager, sleep=self._sleep, timer=self._timer
            )
        self._actions.add_graph(name, GraphAction(graph, goal, executor))

    async def execute_plan(
        self,
        plan: Plan,
        goal: Goal,
        context: Mapping[str, Any] | None = None,
        *,
        run: str | None = None,
        resume: bool | str = False,
        approvals: Mapping[str, Answer] | None = None,
        accept_changed_plan: bool = False,
    ) -> PlanExecutionResult:
        """Execute a plan until it is completed, stops, or a person has to answer.

        Args:
            plan: The plan; it is not changed. Steps that it calls completed do not run.
            goal: What it is for.
            context: What steps may read, on top of the plan's own context.
            run: Name of the run; a fresh one if None.
            resume: True: continue ``run`` where it stands; a run that does not exist starts anew.
                A reference such as ``"run@7"``: continue from that checkpoint, as a fork named by
                ``run`` unless it is the run's head. A run that is over gives its recorded result.
                One that failed or needs another plan tries again, with the same plan or with one
                of a higher ``revision``, whose unchanged completed steps are kept.
            approvals: ``{step id: answer}`` for steps that wait for a person, or will: True,
                False, ``"approve"``, ``"reject"``, ``"abort"`` or an ``ApprovalResult``. A run
                that was aborted stays so: an answer to it is told as a problem in the report.
            accept_changed_plan: Resume although plan or goal are not what the run was made with.

        Returns:
            The result. Steps that fail are told in its status, not by an exception.

        Raises:
            InvalidInputError: The plan has problems, an action is not registered, or the arguments
                do not fit together.
            ConflictError: The run exists and ``resume`` is False, somebody else continues it, or
                the plan changed.
            LimitError: The run had its last new plan.
            HiveError: A checkpoint could not be read, or not be written (see
                ``CheckpointConfig.on_save_error``).
        """
        check_instance(plan, Plan, "plan")
        check_instance(goal, Goal, "goal")
        check_resume(resume)
        given = text_keyed("context", context)
        actions = self._actions_of(plan, given if resume is False else None)
        answers = text_keyed("approvals", approvals)
        for name, answer in answers.items():
            step = plan.get_step(name)
            if step is not None and isinstance(answer, ApprovalResult):
                check_answer(actions[name], step, answer, f"approvals[{name!r}]")
        manager = enabled(self.checkpoint_manager)
        request = PlanStartRequest(
            plan,
            goal,
            given,
            answers,
            run,
            accept_changed_plan,
            self._config.max_replans,
        )
        start = await _start(request, manager, resume)
        self.runtime.start_run(
            goal.id,
            goal.description,
            {"plan_id": plan.id, "revision": plan.revision},
            run=start.run,
            decisions=start.decisions,
        )
        for name in start.late:
            text = f"the run was aborted before, so the answer about {name!r} changes nothing"
            self.runtime.report_problem("warning", text, node_id=name, run=start.run)
        result = await self._go_on(request, start, actions, manager)
        self._report(result)
        return result

    async def _go_on(
        self,
        request: PlanStartRequest,
        start: PlanStart,
        actions: dict[str, Node],
        manager: CheckpointManager | None,
    ) -> PlanExecutionResult:
        """Execute a run from where it stands until it stops, and save its checkpoints."""
        plan, goal = request.plan, request.goal
        writer = None if manager is None else manager.writer(start.run, start.tip)
        recorder = PlanRecorder(
            writer,
            run=start.run,
            plan=plan,
            goal=goal,
            runtime=self.runtime,
            checkpoint_id=None if start.tip is None else str(start.tip.id),
        )
        effects = Effects(recorder)
        execution = PlanExecution(
            plan=plan,
            progress=start.progress,
            config=self._config,
            work=Work(start.run, goal, actions, self._judge, self._sleep, self._timer, effects),
            runtime=self.runtime,
            recorder=recorder,
            ask=self._ask,
        )
        goes_on = start.progress.status is ExecutionStatus.RUNNING
        try:
            async with recording(
                recorder, self.runtime, start.run, goes_on=goes_on, pause=execution.pause
            ):
                if start.unsaved is not None:
                    await execution.save_start(start.unsaved)
                await execution.drive()
        except BaseException:
            if execution.is_over:  # Ctrl-C came while it was saved how the run ended
                self._report(execution.result())
            raise
        finally:
            if manager is not None and writer is not None:
                manager.release(writer)
        return execution.result()

    def _report(self, result: PlanExecutionResult) -> None:
        narrative = f"{result.status} after {result.steps_executed} attempts of steps"
        self.runtime.end_run(result.success, narrative, result.results, run=result.run_id)

    def _actions_of(self, plan: Plan, given: Mapping[str, Any] | None) -> dict[str, Node]:
        problems = problems_of(plan, given)
        actions: dict[str, Node] = {}
        for step in plan.steps:
            try:
                actions[step.id] = self._actions.for_step(step)
            except errors.InvalidInputError as error:
                problems.append(str(error))
        if problems:
            raise errors.InvalidInputError(
                f"plan {plan.id!r} cannot be executed: {'; '.join(problems)}"
            )
        return actions


async def _start(
    request: PlanStartRequest, manager: CheckpointManager | None, resume: bool | str
) -> PlanStart:
    if resume is False:
        return await request.new_run(manager)
    if manager is None:
        raise errors.InvalidInputError("resume needs an enabled checkpoint_manager")
    return await request.from_checkpoint(manager, None if resume is True else resume)
