"""How plain functions become nodes: function nodes and routers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.futile import futile
from hive.graph.node import Node, NodeResult
from hive.text import kind_of

if TYPE_CHECKING:
    from hive.graph.context import NodeContext
    from hive.graph.node import NodeSpec

__all__ = ["FunctionNode", "RouterNode", "is_async", "node_for"]

_KEYWORD: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class FunctionNode:
    """A sync or async function as a node.

    It is called with keyword arguments: the node's input. A node that declares no ``input_keys``
    passes what the function's parameters name, from its input first, then from memory. A parameter
    called ``ctx`` receives the ``NodeContext``.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Look at the function's parameters once."""
        self._function = function
        parameters = _parameters(function)
        self._named, self._takes_all = _named(parameters)
        if not inspect.isfunction(function) or hasattr(function, "__wrapped__"):
            # Not those of a wrapped function: the wrapper may be there to pass some of them.
            parameters = _parameters(function, follow_wrapped=False)
        self._needed = _needed(parameters)

    async def execute(self, ctx: NodeContext) -> NodeResult:
        """Call the function and turn what it returned into a result."""
        value = await self._call(ctx)
        if isinstance(value, NodeResult):
            return value
        return NodeResult(success=True, output=_output_of(value, ctx.node_spec))

    async def _call(self, ctx: NodeContext) -> Any:
        arguments = dict(ctx.input_data)
        if not ctx.node_spec.input_keys and not self._takes_all:
            arguments = {
                name: ctx.input_data[name] if name in ctx.input_data else ctx.memory.read(name)
                for name in self._named
                if name in ctx.input_data or name in ctx.memory
            }
        if "ctx" in self._named:
            arguments["ctx"] = ctx
        missing = [name for name in self._needed if name not in arguments]
        if missing:
            raise futile(errors.InvalidInputError(self._missing(missing, ctx)))
        value = self._function(**arguments)
        return await value if inspect.isawaitable(value) else value

    def _missing(self, names: list[str], ctx: NodeContext) -> str:
        keys = ", ".join(repr(name) for name in names)
        declared = ctx.node_spec.input_keys
        forgotten = [name for name in names if declared and name not in declared]
        if forgotten:
            return (
                f"its function needs {keys}, and the node's input_keys {declared} do not have "
                f"{', '.join(map(repr, forgotten))}: add it there"
            )
        return (
            f"its function needs {keys}, which neither the input has nor a node before it wrote: "
            "give it in the input (input_data; --input on the command line)"
        )


class RouterNode(FunctionNode):
    """A function that returns where to go: a key of the node's ``routes``, else a node id.

    With routes, an unknown answer takes the route ``default`` where there is one. A single output
    key receives the answer.
    """

    async def execute(self, ctx: NodeContext) -> NodeResult:
        """Call the function and resolve the route."""
        answer = await self._call(ctx)
        if isinstance(answer, NodeResult):
            return answer
        routes = ctx.node_spec.routes
        if not isinstance(answer, str):
            raise errors.InvalidInputError(
                f"router {ctx.node_id!r} returned {kind_of(answer)}; return the name of a route"
            )
        target = routes.get(answer, routes.get("default")) if routes else answer
        if target is None:
            raise errors.InvalidInputError(
                f"router {ctx.node_id!r} returned a route that is not among {sorted(routes)}"
            )
        keys = ctx.node_spec.output_keys
        output = {keys[0]: answer} if len(keys) == 1 else {}
        return NodeResult(success=True, output=output, next_node=target)


def node_for(spec: NodeSpec, registered: Node | None, function: Callable[..., Any] | None) -> Node:
    """Return what runs for a node: its registered object, else its function.

    Raises:
        InvalidInputError: It has neither, or it is of a type that a function cannot be.
    """
    if registered is not None:
        return registered
    function = function or spec.function
    place = f"nodes[{spec.id!r}]"
    if spec.node_type not in {"function", "router"}:
        raise errors.InvalidInputError(
            f"{place}: node_type {spec.node_type!r} needs a node object: call register_node"
        )
    if function is None:
        raise errors.InvalidInputError(
            f"{place}: nothing implements it: give it a function, or call register_function"
        )
    if spec.timeout_seconds is not None and not is_async(function):
        # It would hold up the event loop, timer included, until it returned.
        raise errors.InvalidInputError(
            f"{place}.timeout_seconds: its function is not async, so nothing can interrupt it"
        )
    return RouterNode(function) if spec.node_type == "router" else FunctionNode(function)


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether calling a function gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  it is called: the object may be async
    )


def _parameters(
    function: Callable[..., Any], *, follow_wrapped: bool = True
) -> Collection[inspect.Parameter] | None:
    """Return the parameters; None if that cannot be told, as of some builtins."""
    try:
        return inspect.signature(function, follow_wrapped=follow_wrapped).parameters.values()
    except ValueError:
        return None


def _named(parameters: Collection[inspect.Parameter] | None) -> tuple[list[str], bool]:
    """Return the parameters that take a keyword, and whether any keyword is taken."""
    if parameters is None:  # let the call itself judge
        return [], True
    named = [parameter.name for parameter in parameters if parameter.kind in _KEYWORD]
    return named, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _needed(parameters: Collection[inspect.Parameter] | None) -> list[str]:
    """Return the parameters that a call must name, as far as that can be told."""
    return [p.name for p in parameters or () if p.kind in _KEYWORD and p.default is p.empty]


def _output_of(value: Any, spec: NodeSpec) -> dict[str, Any]:
    keys = spec.output_keys
    if isinstance(value, Mapping):
        if value and keys and not any(key in keys for key in value):
            # To drop everything silently would lose the node's work.
            raise errors.InvalidInputError(
                f"node {spec.id!r} returned none of its output_keys {keys}"
            )
        return dict(value)
    if len(keys) == 1:
        return {keys[0]: value}
    if value is None:
        return {}
    raise errors.InvalidInputError(
        f"node {spec.id!r} returned {kind_of(value)} and declares {len(keys)} output_keys: "
        "return a mapping, or declare one output key"
    )
