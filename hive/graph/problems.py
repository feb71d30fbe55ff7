"""What is wrong with a graph: every problem, each with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hive import errors
from hive.graph.edge import EdgeCondition
from hive.graph.expression import Expression
from hive.graph.goal import parts_of_no_goal
from hive.graph.names import bad_name

if TYPE_CHECKING:
    from hive.graph.edge import EdgeSpec
    from hive.graph.node import NodeSpec
    from hive.graph.parallel import ParallelSpec
    from hive.graph.spec import GraphSpec

__all__ = ["problems_of"]


def problems_of(graph: GraphSpec) -> list[str]:
    """Return every problem of a graph, each with its place, in the order of the graph's fields."""
    known = {node.id for node in graph.nodes}
    return [
        *bad_name("graph.id", graph.id),
        *_ends(graph, known),
        *_duplicates("nodes", (node.id for node in graph.nodes)),
        *(problem for node in graph.nodes for problem in _node(node, known)),
        *_duplicates("edges", (edge.id for edge in graph.edges)),
        *(problem for edge in graph.edges for problem in _edge(edge, graph, known)),
        *_duplicates("parallel", (spec.source for spec in graph.parallel)),
        *(problem for spec in graph.parallel for problem in _parallel(spec, graph, known)),
        *_unreachable(graph, known),
    ]


def _ends(graph: GraphSpec, known: set[str]) -> Iterator[str]:
    if not graph.nodes:
        yield "graph.nodes: there are none"
        return  # everything else would be reported as naming an unknown node
    yield from _unknown("graph.entry_node", graph.entry_node, known)
    for name, target in graph.entry_points.items():
        place = f"graph.entry_points[{name!r}]"
        if isinstance(target, str):
            yield from _unknown(place, target, known)
        else:
            yield (
                f"{place}: names {len(target)} nodes to start in parallel; a run starts at one "
                "node: name one, and declare what begins after it in graph.parallel"
            )
    for field in ("terminal_nodes", "pause_nodes"):
        for index, node in enumerate(getattr(graph, field)):
            yield from _unknown(f"graph.{field}[{index}]", node, known)


def _node(node: NodeSpec, known: set[str]) -> Iterator[str]:
    place = f"nodes[{node.id!r}]"
    yield from bad_name(f"{place}.id", node.id)
    if node.routes and node.node_type != "router":
        yield f"{place}.routes: only a router has routes, this node_type is {node.node_type!r}"
    for name, target in node.routes.items():
        yield from _unknown(f"{place}.routes[{name!r}]", target, known)
    if node.backoff_max_seconds < node.backoff_seconds:
        yield f"{place}.backoff_max_seconds: less than backoff_seconds"
    if node.function is not None and node.node_type not in {"function", "router"}:
        yield f"{place}.function: node_type {node.node_type!r} takes a registered node object"


def _edge(edge: EdgeSpec, graph: GraphSpec, known: set[str]) -> Iterator[str]:
    place = f"edges[{edge.id!r}]"
    yield from bad_name(f"{place}.id", edge.id)
    yield from _unknown(f"{place}.source", edge.source, known)
    yield from _unknown(f"{place}.target", edge.target, known)
    conditional = edge.condition is EdgeCondition.CONDITIONAL
    if conditional and not edge.condition_expr:
        yield f"{place}.condition_expr: missing, a conditional edge needs one"
    elif conditional and edge.condition_expr:
        yield from _condition(f"{place}.condition_expr", edge.condition_expr, known)
    elif edge.condition_expr:
        yield f"{place}.condition_expr: ignored unless the condition is 'conditional'"
    if edge.source in graph.terminal_nodes and edge.condition in {
        EdgeCondition.ON_SUCCESS,
        EdgeCondition.CONDITIONAL,
    }:
        yield f"{place}: never followed, the run ends when terminal node {edge.source!r} succeeds"


def _condition(place: str, text: str, known: set[str]) -> Iterator[str]:
    """Check what can be known: other names are keys of the memory, which a run's input may have."""
    try:
        expression = Expression(text)
    except errors.InvalidInputError as error:
        yield f"{place}: {error}"
        return
    for node in sorted(expression.parts_of("visits")):
        yield from _unknown(f"{place}: visits.{node}", node, known)
    for field in parts_of_no_goal(expression.parts_of("goal")):
        yield f"{place}: goal.{field}: a goal has no {field!r}"


def _parallel(spec: ParallelSpec, graph: GraphSpec, known: set[str]) -> Iterator[str]:
    place = f"parallel[{spec.source!r}]"
    yield from _unknown(f"{place}.source", spec.source, known)
    yield from _unknown(f"{place}.join", spec.join, known)
    starts = [edge.target for edge in graph.get_outgoing_edges(spec.source)]
    if spec.source in known and not starts:
        yield f"{place}.source: no edge leaves it, so no branch begins"
    if spec.source in graph.terminal_nodes:
        yield f"{place}.source: the run ends when terminal node {spec.source!r} succeeds"
    if spec.join == spec.source or spec.source in _reached(graph, starts, stop=spec.join):
        yield f"{place}: a branch leads back to {spec.source!r} without coming to {spec.join!r}"
    if spec.errors_key is not None and spec.on_failure != "continue":
        yield f"{place}.errors_key: only for on_failure 'continue'"


def _unreachable(graph: GraphSpec, known: set[str]) -> Iterator[str]:
    # A node object, and a router without routes, may go anywhere: then nothing can be said.
    if any(
        node.node_type != "function" and not (node.node_type == "router" and node.routes)
        for node in graph.nodes
    ):
        return
    starts = [graph.entry_node]
    for target in graph.entry_points.values():
        starts += [target] if isinstance(target, str) else target
    seen = _reached(graph, starts)
    if seen & known:  # with an unknown entry node everything would be reported once more
        for node in graph.nodes:
            if node.id not in seen:
                yield f"nodes[{node.id!r}]: cannot be reached from entry node {graph.entry_node!r}"


def _reached(graph: GraphSpec, starts: Iterable[str], *, stop: str | None = None) -> set[str]:
    """Return the nodes to which edges and routes lead; none behind ``stop``."""
    leads_to: dict[str, set[str]] = {node.id: set(node.routes.values()) for node in graph.nodes}
    for source, target in [
        *((edge.source, edge.target) for edge in graph.edges),
        *((spec.source, spec.join) for spec in graph.parallel),
    ]:
        leads_to.setdefault(source, set()).add(target)
    waiting = list(starts)
    seen: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node not in seen and node != stop:
            seen.add(node)
            waiting += leads_to.get(node, ())
    return seen


def _unknown(place: str, node_id: str, known: set[str]) -> Iterator[str]:
    if node_id not in known:
        yield f"{place}: there is no node {node_id!r}"


def _duplicates(place: str, ids: Iterable[str]) -> Iterator[str]:
    for value, count in Counter(ids).items():
        if count > 1:
            yield f"{place}[{value!r}]: this id is used {count} times"
