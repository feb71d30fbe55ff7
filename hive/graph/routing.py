"""Which node comes next, and with what input."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.edge import EdgeCondition
from hive.graph.expression import Expression

if TYPE_CHECKING:
    from hive.graph.edge import EdgeSpec
    from hive.graph.goal import Goal
    from hive.graph.progress import Finished
    from hive.graph.spec import GraphSpec

__all__ = ["Choice", "choose", "choose_all"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The next node.

    The values are shared with output and memory: whoever hands them to a node hands over copies.

    Attributes:
        target: Its id.
        input_data: Its input.
        mapped: What an edge's mapping adds to memory.
        reason: Why it is next, for the report.
    """

    target: str
    input_data: dict[str, Any]
    mapped: dict[str, Any]
    reason: str


def choose(
    graph: GraphSpec,
    finished: Finished,
    memory: Mapping[str, Any],
    *,
    goal: Goal,
    visits: Mapping[str, int],
    steps: int,
) -> Choice | None:
    """Choose the node that follows a finished one; None if nothing leads on.

    Of several edges that may be followed, the one with the highest priority is, then the one
    declared first.

    Raises:
        InvalidInputError: A condition cannot be evaluated, or a mapping names a key that is neither
            in the output nor in memory.
    """
    output = _output(finished)
    edges = graph.get_outgoing_edges(finished.node)
    if finished.success and finished.next_node is not None:
        edge = next((edge for edge in edges if edge.target == finished.next_node), None)
        mapped = {} if edge is None else _mapped(edge, output, memory)
        # A router adds nothing of its own: what it was given goes on to the node it chose.
        passed = mapped or output or finished.node_input
        return Choice(finished.next_node, passed, mapped, "chosen by the node itself")
    names = _names(edges, output, memory, goal, visits, steps)
    for edge in edges:
        if _may_follow(edge, finished, names):
            return _along(edge, output, memory)
    return None


def choose_all(
    graph: GraphSpec,
    finished: Finished,
    memory: Mapping[str, Any],
    *,
    goal: Goal,
    visits: Mapping[str, int],
    steps: int,
) -> dict[str, Choice]:
    """Return every edge that may be followed after a success, by id, in the declared order.

    Raises:
        InvalidInputError: As ``choose``.
    """
    output = _output(finished)
    edges = [edge for edge in graph.edges if edge.source == finished.node]
    names = _names(edges, output, memory, goal, visits, steps)
    return {
        edge.id: _along(edge, output, memory)
        for edge in edges
        if _may_follow(edge, finished, names)
    }


def _output(finished: Finished) -> dict[str, Any]:
    return finished.output if finished.success else {**finished.output, "error": finished.error}


def _names(
    edges: Sequence[EdgeSpec],
    output: Mapping[str, Any],
    memory: Mapping[str, Any],
    goal: Goal,
    visits: Mapping[str, int],
    steps: int,
) -> Mapping[str, Any]:
    """Return what conditions can name: also the memory's keys, where they hide nothing else."""
    if all(edge.condition is not EdgeCondition.CONDITIONAL for edge in edges):
        return {}
    return ChainMap(
        {
            "output": output,
            "memory": memory,
            "result": output.get("result"),
            "goal": goal.model_dump(mode="json"),
            "visits": visits,
            "steps": steps,
        },
        dict(memory),
    )


def _along(edge: EdgeSpec, output: Mapping[str, Any], memory: Mapping[str, Any]) -> Choice:
    mapped = _mapped(edge, output, memory)
    return Choice(
        edge.target, mapped or dict(output), mapped, f"edge {edge.id} ({edge.condition.value})"
    )


def _may_follow(edge: EdgeSpec, finished: Finished, names: Mapping[str, Any]) -> bool:
    match edge.condition:
        case EdgeCondition.ALWAYS:
            return True
        case EdgeCondition.ON_SUCCESS:
            return finished.success
        case EdgeCondition.ON_FAILURE:
            return not finished.success
        case EdgeCondition.CONDITIONAL:
            try:
                return finished.success and Expression(edge.condition_expr or "").holds(names)
            except errors.InvalidInputError as error:
                raise errors.InvalidInputError(f"edge {edge.id!r}: {error}") from error


def _mapped(edge: EdgeSpec, output: Mapping[str, Any], memory: Mapping[str, Any]) -> dict[str, Any]:
    mapped = {}
    for target_key, source_key in edge.input_mapping.items():
        for values in (output, memory):
            if source_key in values:
                mapped[target_key] = values[source_key]
                break
        else:
            raise errors.InvalidInputError(
                f"edge {edge.id!r} maps {target_key!r} from {source_key!r}, which is neither in "
                f"the output of {edge.source!r} nor in memory"
            )
    return mapped
