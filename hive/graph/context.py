"""What a node is told about the attempt it makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.fingerprint import idempotency_key

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.memory import SharedMemory
    from hive.graph.node import NodeSpec
    from hive.graph.runtime import Runtime
    from hive.graph.services import NodeServices

__all__ = ["NodeContext"]


@dataclass(slots=True)
class NodeContext:
    """One attempt of one visit of a node in a run.

    Attributes:
        runtime: Where decisions are recorded.
        node_id: The node.
        node_spec: Its specification.
        memory: The run's memory, limited to the declared keys. Writes take effect when the
            attempt succeeds; those of a failed attempt are dropped.
        input_data: The node's input, a copy of its own.
        goal: What the run is for.
        attempt: Which attempt of this visit this is, from 1. An attempt cut short by a crash
            was not finished and is not counted.
        max_attempts: How many attempts a visit has, inclusive.
        run: Name of the run.
        visit: Which visit of this node this is, from 1.
        branch: Which of the branches that run in parallel this visit is in, from the outermost
            inwards; empty outside of them.
        saved_state: What this visit saved last with ``checkpoint``, in this attempt or in an
            earlier one, a copy; None if nothing.
        services: What the executor does for the node; None outside of an executor.
        is_over: The attempt has ended, though a task or thread that it left behind may go on.
    """

    runtime: Runtime
    node_id: str
    node_spec: NodeSpec
    memory: SharedMemory
    input_data: dict[str, Any]
    goal: Goal
    attempt: int = 1
    max_attempts: int = 1
    run: str = ""
    visit: int = 1
    branch: tuple[str, ...] = ()
    saved_state: Any = None
    services: NodeServices | None = field(default=None, repr=False)
    is_over: bool = field(default=False, init=False, repr=False)

    @property
    def idempotency_key(self) -> str:
        """The same 64 hex digits for every attempt of this visit, also after a crash and resume.

        Pass it to a service that recognizes repeated requests. A fork is another run and has
        other keys.
        """
        node = self.node_id if self.services is None else self.services.first_id
        return idempotency_key(self.run, node, self.visit, self.branch)

    async def effect(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Do something that must not be repeated, and return what it gave.

        ``await ctx.effect("charge", charge_card, card, amount)`` calls the function, which may be
        async, and stores what it returns before this returns. When the same visit of the node runs
        again, after a failed attempt or a crash, the stored value is returned and nothing is
        called. A crash *between* the call and the storing does repeat the call: pass
        ``ctx.idempotency_key`` to a service that knows such keys.

        Args:
            name: Names the effect within this visit of the node; 1 to 200 characters.
            function: Called with the arguments. If it raises, nothing is stored.
            *arguments: For the function. They are not compared.

        Returns:
            A copy of the value, which must be of a type that a state may hold.

        Raises:
            InvalidInputError: The name is not one, or the value cannot be stored.
            HiveError: The store could not be read or written.
        """
        return await self._services().effect(self, name, function, arguments)

    async def checkpoint(self, state: Any) -> None:
        """Save how far a long node has come, as durably as the manager is configured.

        If the run is interrupted, or the attempt fails, the next attempt finds it in
        ``ctx.saved_state``. It is forgotten when the visit ends. What the attempt wrote to memory
        is not part of it: that takes effect when the attempt succeeds.

        Args:
            state: Anything that a state may hold. It replaces what was saved before.

        Raises:
            InvalidInputError: The state cannot be stored, or the attempt is over.
            HiveError: It could not be saved.
        """
        await self._services().checkpoint(self, state)

    def _services(self) -> NodeServices:
        if self.services is None:
            raise errors.InvalidInputError("this context was not made by an executor")
        return self.services

    def decide(
        self, intent: str, *, options: Sequence[str] = (), chosen: str, reasoning: str = ""
    ) -> str:
        """Record a decision of this node and return its id, for ``runtime.record_outcome``.

        Raises:
            InvalidInputError: A checkpoint cannot hold it.
        """
        if self.services is not None:
            said = [intent, list(options), chosen, reasoning]
            self.services.refuse_unstorable({"decision": said})
        return self.runtime.decide(
            intent,
            options=options,
            chosen=chosen,
            reasoning=reasoning,
            node_id=self.node_id,
            run=self.run,
        )
