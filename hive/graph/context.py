"""What a node is told about the attempt it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hive.graph.fingerprint import idempotency_key

if TYPE_CHECKING:
    from hive.graph.goal import Goal
    from hive.graph.memory import SharedMemory
    from hive.graph.node import NodeSpec
    from hive.graph.runtime import Runtime

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

    @property
    def idempotency_key(self) -> str:
        """The same 64 hex digits for every attempt of this visit, also after a crash and resume.

        Pass it to a service that recognizes repeated requests. A fork is another run and has
        other keys.
        """
        return idempotency_key(self.run, self.node_id, self.visit)

    def decide(
        self, intent: str, *, options: Sequence[str] = (), chosen: str, reasoning: str = ""
    ) -> str:
        """Record a decision of this node and return its id, for ``runtime.record_outcome``."""
        return self.runtime.decide(
            intent,
            options=options,
            chosen=chosen,
            reasoning=reasoning,
            node_id=self.node_id,
            run=self.run,
        )
