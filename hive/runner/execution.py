"""One execution of an agent, by the executor that its work needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.executor import GraphExecutor
from hive.graph.goal import Goal
from hive.graph.result import ExecutionResult
from hive.graph.spec import GraphSpec
from hive.plan.executor import FlexibleGraphExecutor
from hive.plan.plan import Plan
from hive.plan.result import PlanExecutionResult

if TYPE_CHECKING:
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.graph.runtime import Runtime
    from hive.plan.approval import Answer
    from hive.runner.agent import Agent

__all__ = ["AgentExecution", "RunResult"]

RunResult = ExecutionResult | PlanExecutionResult
"""What a run of a graph, or of a plan, gives."""


@dataclass(frozen=True, slots=True)
class AgentExecution:
    """What was asked for; see ``AgentRunner.arun`` and ``aresume``."""

    agent: Agent
    manager: CheckpointManager
    runtime: Runtime
    input_data: Mapping[str, Any] | None
    run: str | None = None
    resume: bool | str = False
    approvals: Mapping[str, Answer] | None = None
    accept_changes: bool = False

    async def drive(self, session_state: Mapping[str, Any] | None = None) -> RunResult:
        """Go on until the run ends, fails or waits.

        Raises:
            InvalidInputError: The agent has a plan and a session state was given, or a graph and
                approvals were.
            HiveError: What the executor raises.
        """
        if isinstance(self.agent.work, Plan):
            if session_state:
                raise errors.InvalidInputError(
                    "session_state is for graphs: execute the plan of the earlier result"
                )
            return await self._plan(self.agent.work)
        if self.approvals:
            raise errors.InvalidInputError(
                "approvals are for plans: a paused graph is resumed with input or with none"
            )
        return await self._graph(self.agent.work, session_state)

    async def _plan(self, plan: Plan) -> PlanExecutionResult:
        agent = self.agent
        executor = FlexibleGraphExecutor(
            self.runtime, self.manager, agent.functions, agent.judge, config=agent.limits
        )
        for name, node in agent.nodes.items():
            executor.register_node(name, node)
        for name, graph in agent.graphs.items():
            executor.register_graph(name, graph)
        return await executor.execute_plan(
            plan,
            self._purpose(),
            self.input_data,
            run=self.run,
            resume=self.resume,
            approvals=self.approvals,
            accept_changed_plan=self.accept_changes,
        )

    async def _graph(
        self, graph: GraphSpec, session_state: Mapping[str, Any] | None
    ) -> ExecutionResult:
        executor = GraphExecutor(self.runtime, self.manager, self.agent.nodes)
        for name, function in self.agent.functions.items():
            executor.register_function(name, function)
        return await executor.execute(
            graph,
            self._purpose(),
            self.input_data,
            session_state,
            run=self.run,
            resume=self.resume,
            accept_changed_graph=self.accept_changes,
        )

    def _purpose(self) -> Goal:
        """Return what the run is for.

        An agent without a goal goes on with that of a run which another program began: the one that
        is made up would be taken for a change.
        """
        if self.agent.goal is not None or self.resume is False or not self.manager.config.enabled:
            return self.agent.purpose
        repository = self.manager.repository
        try:
            if isinstance(self.resume, str):
                found = repository.resolve(self.resume)
            else:
                found = repository.log(self.run or "", limit=1)[0]
            recorded = repository.execution(found).get("goal")
            return Goal.model_validate_json(recorded) if recorded else self.agent.purpose
        except (errors.HiveError, ValueError, LookupError):
            return self.agent.purpose  # the executor says what is wrong
