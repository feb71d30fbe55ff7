"""One visit of a node: attempts, retries with back-off, and what the successful attempt wrote."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.context import NodeContext
from hive.graph.copies import Copies, copy_value
from hive.graph.futile import is_futile
from hive.graph.memory import SharedMemory
from hive.graph.node import NodeResult
from hive.text import expressible, told

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.node import Node, NodeSpec
    from hive.graph.runtime import Runtime
    from hive.graph.services import NodeServices

__all__ = ["Attempt", "Visit"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt.

    Attributes:
        result: What it gave; an exception is a failed result.
        final: No further attempt will be made: it succeeded, or the retries are used up or not
            wanted for this failure.
        latency_ms: Milliseconds it took.
        written: What it wrote to memory, which nobody changes; nothing unless it succeeded.
    """

    result: NodeResult
    final: bool
    latency_ms: int
    written: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Visit:
    """What all attempts of one visit share.

    Attributes:
        run: Name of the run.
        spec: The node's specification.
        node: What runs.
        number: Which visit of this node it is, from 1.
        input_data: The input; each attempt gets a copy.
        memory: The run's memory, which is not changed here.
        goal: The run's goal.
        runtime: Where the node records decisions.
        targets: The node ids that a result may name as the next node.
        sleep: Waits before a retry.
        timer: A monotonic clock in seconds.
        services: What is done for the node while it runs.
        branch: In which branch of the run the visit is.
    """

    run: str
    spec: NodeSpec
    node: Node
    number: int
    input_data: dict[str, Any]
    memory: SharedMemory
    goal: Goal
    runtime: Runtime
    targets: Container[str]
    sleep: Callable[[float], Awaitable[None]]
    timer: Callable[[], float]
    services: NodeServices | None = None
    branch: tuple[str, ...] = ()

    async def attempt(self, number: int, saved_state: Any = None) -> Attempt:
        """Make attempt ``number`` (from 1), after the wait that precedes a retry.

        ``saved_state`` is what an earlier attempt saved with ``ctx.checkpoint``. A resumed run
        waits again: the wait before the attempt in flight is not known to be over.
        """
        if number > 1:
            await self.sleep(_backoff_seconds(self.spec, number - 1))
        copies = Copies()
        staged = self.memory.staged(copies)
        started = self.timer()
        ends = False
        # Only Exception: cancellation and Ctrl-C end the run where it is and are no failed attempt.
        try:
            result = await self._execute(number, staged, copies, saved_state)
            if copies.has_doubts:
                result = self._storable(result, staged.written())
            causes = [_leading_name(result.error)]
        except Exception as error:
            result = NodeResult(success=False, error=told(error))
            causes, ends = _class_names(error), is_futile(error)
        if isinstance(result.error, str):
            result = replace(result, error=expressible(result.error))
        latency_ms = result.latency_ms or int((self.timer() - started) * 1000)
        used_up = number > self.spec.max_retries
        wanted = not self.spec.retry_on or any(cause in self.spec.retry_on for cause in causes)
        final = result.success or ends or used_up or not wanted
        return Attempt(result, final, latency_ms, staged.written() if result.success else {})

    async def _execute(
        self, number: int, staged: SharedMemory, copies: Copies, saved_state: Any
    ) -> NodeResult:
        """Run the node and write its output into the staged memory."""
        spec = self.spec
        # Undeclared keys are no limit. A node may read back what it writes.
        readable = [*spec.input_keys, *spec.output_keys] if spec.input_keys else None
        context = NodeContext(
            runtime=self.runtime,
            node_id=spec.id,
            node_spec=spec,
            memory=staged.with_permissions(readable, spec.output_keys or None),
            input_data=self._input(copies),
            goal=self.goal,
            attempt=number,
            max_attempts=spec.max_retries + 1,
            run=self.run,
            visit=self.number,
            branch=self.branch,
            saved_state=copy_value(saved_state, "state of the node"),
            services=self.services,
        )
        try:
            result: Any = self.node.execute(context)
            if inspect.isawaitable(result):
                result = await self._in_time(result)
        finally:
            context.is_over = True
        checked = self._checked(result, copies)
        if checked.success:
            declared = spec.output_keys or checked.output
            staged.adopt({key: checked.output[key] for key in checked.output if key in declared})
        return checked

    def _storable(self, result: NodeResult, written: Mapping[str, Any]) -> NodeResult:
        """Return a result of which a checkpoint can hold everything.

        Raises:
            InvalidInputError: The node succeeded, and gave or wrote what no checkpoint can hold.
        """
        if self.services is None:
            return result
        try:
            self.services.refuse_unstorable({**result.output, **written})
        except errors.InvalidInputError as error:
            if result.success:
                raise
            return replace(result, output={}, error=f"{result.error}; {error}")
        return result

    async def _in_time(self, result: Awaitable[Any]) -> Any:
        """Wait for a result, for as long as the node may take.

        Raises:
            TimeoutError: It took too long, and was cancelled.
        """
        seconds = self.spec.timeout_seconds
        if seconds is None:
            return await result
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                return await result
        except TimeoutError:
            if not timer.expired():
                raise  # the node's own
            raise TimeoutError(f"no result within {seconds:g} seconds") from None

    def _checked(self, result: Any, copies: Copies) -> NodeResult:
        """Return a copy of what a node object returned, which the node may still hold and change.

        Raises:
            InvalidInputError: It is not what a node may return.
        """
        place = f"result of node {self.spec.id!r}"
        if not isinstance(result, NodeResult):
            raise errors.InvalidInputError(f"{place}: {type(result).__name__} is no NodeResult")
        if not isinstance(result.output, Mapping):
            raise errors.InvalidInputError(f"{place}: the output is not a mapping")
        if not all(isinstance(key, str) for key in result.output):
            raise errors.InvalidInputError(f"{place}: a key of the output is not text")
        for name in ("tokens_used", "latency_ms"):
            if not isinstance(getattr(result, name), int) or getattr(result, name) < 0:
                raise errors.InvalidInputError(f"{place}: {name} is not a whole number from 0")
        if result.next_node is not None and result.next_node not in self.targets:
            raise errors.InvalidInputError(f"{place}: there is no node {result.next_node!r}")
        copies.doubt_keys(result.output)
        output = {
            key: copies.take(value, f"{place}, output[{key!r}]")
            for key, value in result.output.items()
        }
        return replace(result, output=output)

    def _input(self, copies: Copies) -> dict[str, Any]:
        """Return the input of one attempt: the declared keys, else all that was handed over."""
        given, memory = self.input_data, self.memory.lend()
        return {
            key: copies.lend(given[key] if key in given else memory[key], f"input_data[{key!r}]")
            for key in self.spec.input_keys or given
            if key in given or key in memory
        }


def _backoff_seconds(spec: NodeSpec, retry: int) -> float:
    """Return the wait before a node's retry number ``retry`` (from 1), in seconds."""
    # The exponent is bounded: 2.0 ** 1024 overflows.
    return min(spec.backoff_max_seconds, spec.backoff_seconds * 2.0 ** min(retry - 1, 64))


def _class_names(error: Exception) -> list[str]:
    names = []
    for cls in type(error).__mro__:
        names += [cls.__name__, f"{cls.__module__}.{cls.__qualname__}"]
    return names


def _leading_name(text: str | None) -> str:
    return (text or "").partition(":")[0].strip()
