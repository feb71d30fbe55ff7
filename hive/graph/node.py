"""What a node is: its specification, what it returns, and the protocol of node objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, JsonValue

if TYPE_CHECKING:
    from hive.graph.context import NodeContext

__all__ = ["Node", "NodeResult", "NodeSpec"]


class NodeSpec(BaseModel):
    """The specification of one node.

    Attributes:
        id: Unique in its graph.
        name: For people.
        description: For people.
        node_type: ``function`` (a sync or async function), ``router`` (a function that returns
            the name of a route) or any other word for a node whose object is registered.
        input_keys: The memory keys the node reads. Empty: not declared, it may read all.
        output_keys: The memory keys the node writes. Empty: not declared, it may write all.
        max_retries: Retries after the first attempt: ``max_retries + 1`` attempts in all.
        retry_on: Names of the exception classes worth a retry, subclasses included. Empty: all.
        backoff_seconds: Wait before the first retry; doubled for each further one.
        backoff_max_seconds: Upper bound of one wait, inclusive.
        timeout_seconds: How long one attempt may take, exclusive; it then is cancelled and has
            failed with a ``TimeoutError``. Only what awaits can be cancelled, so a function that
            is not async cannot have one.
        max_visits: How often a run may enter the node, inclusive; None for no limit of its own.
        routes: For a router: ``{route name: node id}``. Empty: the function returns node ids.
        settings: Free settings for the node's implementation (a prompt, a model name, ...).
        function: The implementation of a function or router node. It is not part of the
            serialized graph or of its digest; a registered function takes precedence.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    id: str
    name: str = ""
    description: str = ""
    node_type: str = "function"
    input_keys: list[str] = Field(default_factory=list)
    output_keys: list[str] = Field(default_factory=list)
    max_retries: int = Field(default=3, ge=0)
    retry_on: list[str] = Field(default_factory=list)
    backoff_seconds: float = Field(default=0.1, ge=0.0)
    backoff_max_seconds: float = Field(default=30.0, ge=0.0)
    timeout_seconds: float | None = Field(default=None, gt=0.0)
    max_visits: int | None = Field(default=None, ge=1)
    routes: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    function: Callable[..., Any] | None = Field(default=None, exclude=True, repr=False)


@dataclass(slots=True)
class NodeResult:
    """What one attempt of a node gave.

    Attributes:
        success: Whether the attempt succeeded; a failure is retried as the node's spec says.
        output: Written to memory on success, under its own keys.
        error: Why it failed. Start it with an exception class name and a colon
            (``"TimeoutError: ..."``) for the node's ``retry_on`` to match it.
        next_node: On success, the node to go to; edges are not asked.
        tokens_used: Added to the run's total, whether or not the attempt succeeded.
        latency_ms: Milliseconds the attempt took; measured by the executor if zero.
    """

    success: bool
    output: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    next_node: str | None = None
    tokens_used: int = 0
    latency_ms: int = 0


@runtime_checkable
class Node(Protocol):
    """An object that can be registered as a node."""

    async def execute(self, ctx: NodeContext) -> NodeResult:
        """Make one attempt. An exception counts as a failed attempt."""
        ...
