"""The specification of a whole graph."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hive.graph.edge import EdgeSpec
from hive.graph.node import NodeSpec
from hive.graph.parallel import ParallelSpec
from hive.graph.problems import problems_of

__all__ = ["GraphSpec"]


class GraphSpec(BaseModel):
    """Nodes, edges, and where a run starts, pauses and ends.

    Attributes:
        id: Names the graph.
        goal_id: The goal it was made for. Descriptive: any goal may be passed to the executor.
        version: Version of the graph, for people.
        entry_node: Where a new run starts.
        entry_points: ``{name: node id}``, other places to start at. A run started with
            ``session_state={"resume_from": name}`` starts there, and a pause at node ``n`` is
            continued at the entry point ``n_resume`` where there is one. A list of several nodes
            would ask for a parallel start, which ``validate`` refuses: declare a ``parallel``.
        terminal_nodes: The run completes when one of them succeeds. Where none are declared, the
            run completes when no edge leads on; where some are, that is a failure.
        pause_nodes: The run pauses after one of them succeeded.
        nodes: The nodes.
        edges: The edges.
        parallel: Where branches begin that run in parallel, and where they meet again.
        max_steps: How many visits of nodes a run may make, inclusive; pauses and resumes do not
            reset the count. A run that would need more fails. Each of several parallel branches
            may make as many as are left when they begin, and the sum is compared when they meet.
        description: For people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    goal_id: str = ""
    version: str = "1.0.0"
    entry_node: str
    entry_points: dict[str, str | list[str]] = Field(default_factory=dict)
    terminal_nodes: list[str] = Field(default_factory=list)
    pause_nodes: list[str] = Field(default_factory=list)
    nodes: list[NodeSpec] = Field(default_factory=list)
    edges: list[EdgeSpec] = Field(default_factory=list)
    parallel: list[ParallelSpec] = Field(default_factory=list)
    max_steps: int = Field(default=100, ge=1)
    description: str = ""

    def get_node(self, node_id: str) -> NodeSpec | None:
        """Return the node of that id, or None."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def get_outgoing_edges(self, node_id: str) -> list[EdgeSpec]:
        """Return the edges that leave a node, in the order in which they are tried."""
        leaving = [edge for edge in self.edges if edge.source == node_id]
        return sorted(leaving, key=lambda edge: -edge.priority)  # stable: declaration breaks ties

    def get_parallel(self, source: str) -> ParallelSpec | None:
        """Return the branches that begin after a node, or None."""
        return next((spec for spec in self.parallel if spec.source == source), None)

    def get_entry_point(self, name: str) -> str | None:
        """Return the node of a named entry point, or None."""
        node = self.entry_points.get(name)
        return node if isinstance(node, str) else None

    # The name is the seed framework's; pydantic's deprecated classmethod of that name is not ours.
    def validate(self) -> list[str]:  # type: ignore[override]
        """Return every problem of this graph, each with its place; empty if it can be run."""
        return problems_of(self)
