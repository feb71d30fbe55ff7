"""What steps run: registered functions, node objects and graphs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.executor import GraphExecutor
from hive.graph.goal import Goal
from hive.graph.implementation import FunctionNode, is_async
from hive.graph.node import Node, NodeResult
from hive.plan.plan import ActionType
from hive.text import kind_of

if TYPE_CHECKING:
    from hive.graph.context import NodeContext
    from hive.graph.spec import GraphSpec
    from hive.plan.approval import ApprovalResult
    from hive.plan.plan import PlanStep

__all__ = ["FEEDBACK", "Actions", "FunctionAction", "GraphAction", "check_answer"]

FEEDBACK: Final = "feedback"
"""The argument that receives what the judge said of the attempt before; None in the first one."""


class FunctionAction(FunctionNode):
    """A sync or async function as an action."""

    def check(self, step: PlanStep, place: str) -> None:
        """Refuse a step that the function cannot be what it runs for.

        Raises:
            InvalidInputError: The function has no parameter for one of the step's inputs, or cannot
                be interrupted and the step has a timeout; ``place`` names the step.
        """
        self.check_inputs(step, step.inputs, f"{place}.inputs")
        if step.timeout_seconds is not None and not is_async(self._function):
            # It would hold up the event loop, timer included, until it returned.
            raise errors.InvalidInputError(
                f"{place}.timeout_seconds: the function {step.action.name!r} is not async, so "
                "nothing can interrupt it: register it with in_thread=True"
            )

    def check_inputs(self, step: PlanStep, names: Iterable[str], place: str) -> None:
        """Refuse inputs that no parameter receives: the function would run as if without them.

        Raises:
            InvalidInputError: There is such an input; ``place`` says where they were given.
        """
        unknown = [name for name in names if name not in self._named]
        if unknown and not self._takes_all:
            raise errors.InvalidInputError(
                f"{place}: the function {step.action.name!r} has no parameter for {unknown}"
            )

    async def execute(self, ctx: NodeContext) -> NodeResult:
        """Call the function and turn what it returned into a result."""
        if FEEDBACK in self._named and FEEDBACK not in ctx.memory:
            ctx.input_data.setdefault(FEEDBACK, None)
        value = await self._call(ctx)
        if isinstance(value, NodeResult):
            return value
        keys = ctx.node_spec.output_keys
        if isinstance(value, Mapping) and not (len(keys) == 1 and keys[0] not in value):
            return NodeResult(success=True, output=dict(value))
        if len(keys) > 1:
            raise errors.InvalidInputError(
                f"step {ctx.node_id!r} returned {kind_of(value)} and has "
                f"{len(keys)} expected_outputs: return a mapping"
            )
        if value is None and not keys:
            return NodeResult(success=True)
        return NodeResult(success=True, output={keys[0] if keys else ctx.node_id: value})


class GraphAction:
    """A graph as an action: a run of its own, named after the plan's run, the step and the attempt.

    It has checkpoints where the plan has, so that an interrupted step continues inside its graph.
    """

    def __init__(self, graph: GraphSpec, goal: Goal | None, executor: GraphExecutor) -> None:
        """Run ``graph`` with ``executor``, for ``goal`` or for the goal of the plan's run."""
        self._graph = graph
        self._goal = goal
        self._executor = executor

    def check(self, place: str) -> None:
        """Refuse a graph whose nodes nothing implements: every attempt of a step would fail.

        Raises:
            InvalidInputError: There is such a node; ``place`` names the step.
        """
        try:
            self._executor.implementations(self._graph)
        except errors.InvalidInputError as error:
            raise errors.InvalidInputError(f"{place}.action: {error}") from error

    async def execute(self, ctx: NodeContext) -> NodeResult:
        """Run or resume the graph with the step's inputs."""
        manager = self._executor.checkpoint_manager
        ended = 0 if ctx.services is None else ctx.services.ended
        done = await self._executor.execute(
            self._graph,
            ctx.goal if self._goal is None else self._goal,
            ctx.input_data,
            run=f"{ctx.run}/{ctx.node_id}/{ctx.visit}.{ended + 1}",
            resume=manager is not None and manager.config.enabled,
        )
        keys = ctx.node_spec.output_keys
        return NodeResult(
            success=done.success,
            output={key: done.output[key] for key in done.output if not keys or key in keys},
            error=done.error,
            tokens_used=done.total_tokens,
        )


class Actions:
    """The actions of one executor, by kind and name."""

    def __init__(self) -> None:
        """Start without actions."""
        self._known: dict[tuple[ActionType, str], Node] = {}

    def add_function(self, name: str, function: Callable[..., Any], *, in_thread: bool) -> None:
        """Register a function."""
        if not callable(function):
            raise errors.InvalidInputError(
                f"function {name!r}: {kind_of(function)} cannot be called"
            )
        self._known[ActionType.FUNCTION, name] = FunctionAction(
            _threaded(function) if in_thread else function
        )

    def add_node(self, name: str, node: Node) -> None:
        """Register a node object."""
        if not callable(getattr(node, "execute", None)):
            raise errors.InvalidInputError(
                f"node {name!r}: {kind_of(node)} has no method execute(ctx)"
            )
        self._known[ActionType.NODE, name] = node

    def add_graph(self, name: str, action: GraphAction) -> None:
        """Register a graph."""
        self._known[ActionType.SUB_GRAPH, name] = action

    def for_step(self, step: PlanStep) -> Node:
        """Return what a step runs.

        Raises:
            InvalidInputError: Nothing of its kind and name is registered, the function does not
                take one of the step's inputs, or the graph has a node without implementation.
        """
        kind, name = step.action.action_type, step.action.name
        action = self._known.get((kind, name))
        place = f"steps[{step.id!r}]"
        if action is None:
            method = {"function": "function", "node": "node", "sub_graph": "graph"}[kind]
            raise errors.InvalidInputError(
                f"{place}.action: there is no {kind} {name!r}: give it under {method}s, or call "
                f"register_{method}"
            )
        if isinstance(action, FunctionAction):
            action.check(step, place)
        if isinstance(action, GraphAction):
            action.check(place)
        return action


def check_answer(action: Node, step: PlanStep, answer: ApprovalResult, place: str) -> None:
    """Refuse an answer whose inputs what the step runs has no parameter for.

    Raises:
        InvalidInputError: There is such an input: nobody approved the step without it.
    """
    if isinstance(action, FunctionAction):
        action.check_inputs(step, answer.inputs, f"{place}.inputs")


def _threaded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def called(**arguments: Any) -> Any:
        return await asyncio.to_thread(function, **arguments)

    return called
