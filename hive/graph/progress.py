"""How far a run has come: everything besides its memory that a checkpoint must hold to resume.

The state of a checkpoint is the memory alone; this goes into its execution record, together with
the canonical texts of graph and goal and the decisions so far. While branches of the run go on in
parallel, each has a progress of its own within that of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from hive.graph.records import read_record

if TYPE_CHECKING:
    from hive.graph.spec import GraphSpec

__all__ = [
    "EXECUTOR",
    "BranchProgress",
    "FailedVisit",
    "Finished",
    "Progress",
    "Section",
    "Status",
    "deepest_place",
]

Status = Literal["running", "paused", "completed", "failed"]

EXECUTOR: Final = "graph"
"""Marks the execution records of the graph executor; other executors have words of their own."""

FORMAT: Final = 1
_CONSTANT: Final = frozenset({type(None), bool, int, str})


class Finished(BaseModel):
    """A node that is done although what follows it could not be determined.

    Kept so that a resumed run repeats the routing and not the node.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    node: str
    success: bool
    output: dict[str, Any]
    error: str | None
    next_node: str | None
    node_input: dict[str, Any]


class FailedVisit(BaseModel):
    """The visit that a run failed in. It counts in the result; after a resume it is made again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    node: str
    retries: int


class Progress(BaseModel):
    """The mutable progress of one run.

    A visit that has not ended counts nowhere but in ``failed_attempts`` and the totals: a resumed
    run makes the same visit again, with the same number.

    Attributes:
        next_node: The node to visit next, or again; None when the run is over.
        input_data: The input of ``next_node``.
        inputs: Every input the run was given; the original one first, then those at resumes.
        status: Where the run stands.
        path: The nodes visited so far, in order.
        steps: How many visits ended; compared with ``max_steps``.
        total_tokens: Tokens of all attempts, failed ones included.
        total_latency_ms: Milliseconds of all attempts, failed ones included.
        visits: How often each node was visited.
        retries: Failed attempts of each node in visits that ended.
        failed_attempts: Failed attempts of the visit of ``next_node`` that goes on.
        paused_at: The pause node after which the run waits.
        error: Why the run failed.
        finished: Set where the run failed while it looked for the node after this one.
        failed_visit: The visit in which the run failed.
        node_state: What the node in flight saved with ``ctx.checkpoint``; None if nothing.
        renamed: The ids that nodes had when the run began, by the ids they have now.
        section: The branches that go on in parallel, instead of ``next_node``.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    next_node: str | None
    input_data: dict[str, Any]
    inputs: list[dict[str, Any]] = Field(default_factory=list)
    status: Status = "running"
    path: list[str] = Field(default_factory=list)
    steps: int = 0
    total_tokens: int = 0
    total_latency_ms: int = 0
    visits: dict[str, int] = Field(default_factory=dict)
    retries: dict[str, int] = Field(default_factory=dict)
    failed_attempts: int = 0
    paused_at: str | None = None
    error: str | None = None
    finished: Finished | None = None
    failed_visit: FailedVisit | None = None
    node_state: Any = None
    renamed: dict[str, str] = Field(default_factory=dict)
    section: Section | None = None

    def first_id(self, node: str) -> str:
        """Return the id that a node had when the run began."""
        return self.renamed.get(node, node)

    def go_on(self) -> list[BranchProgress]:
        """Make a run that paused or failed go on; return the branches that take new input."""
        before = self.status
        if before not in {"paused", "failed"}:
            return []
        self.status, self.paused_at, self.error, self.failed_visit = "running", None, None, None
        branches = [] if self.section is None else list(self.section.branches.values())
        stopped = [branch for branch in branches if branch.progress.status == before]
        for branch in stopped:
            stopped += branch.progress.go_on()
        # Without any that stopped, the run paused where the branches are about to begin.
        return stopped or [branch for branch in branches if branch.progress.status == "running"]

    def to_record(self) -> dict[str, Any]:
        """Return the progress as it is now, as plain data.

        What the user put in is shared and not copied: nothing changes it. ``model_dump`` would turn
        the user's own models inside the inputs into dicts.
        """
        return {"executor": EXECUTOR, "format": FORMAT, **_fields(self)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Progress:
        """Rebuild the progress from a record, ignoring what else the record carries.

        Raises:
            UnsupportedFormatError: The record is of a newer Hive.
            InvalidInputError: It is no record of this executor.
        """
        return read_record(cls, record, executor=EXECUTOR, version=FORMAT)


class BranchProgress(BaseModel):
    """One of the branches that go on in parallel.

    Attributes:
        progress: Where it stands. Its counters are its own; visits and steps of the run before the
            branches began are not in them.
        given: What the edge that began it mapped. Only this branch sees it.
        written: What it has written to memory so far.
        decisions: What it has decided so far.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    progress: Progress
    given: dict[str, Any] = Field(default_factory=dict)
    written: dict[str, Any] = Field(default_factory=dict)
    decisions: list[dict[str, Any]] = Field(default_factory=list)

    def to_record(self) -> dict[str, Any]:
        """Return the branch as it is now, as plain data."""
        return _fields(self)


class Section(BaseModel):
    """The part of a run in which branches go on in parallel.

    Attributes:
        source: The node whose success began them.
        visit: Which visit of that node it was.
        branches: By the id of the edge that began each, in the order in which they are merged.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    source: str
    visit: int
    branches: dict[str, BranchProgress]


def deepest_place(graph: GraphSpec) -> int:
    """Return in at most how many containers an execution record has a value of the memory.

    In three: the record, what finished, its output. In four more where branches go on: section,
    branches, branch, progress; and merging their values may make a container of its own.
    """
    return 3 + 5 * len(graph.parallel)


Progress.model_rebuild()
_MODELS: Final = frozenset({Progress, Finished, FailedVisit, BranchProgress, Section})


def _fields(model: BaseModel) -> dict[str, Any]:
    """Return the fields of a model of this module, whose ``__dict__`` holds nothing else."""
    return {
        name: value if type(value) in _CONSTANT else _plain(value)
        for name, value in model.__dict__.items()
    }


def _plain(value: Any) -> Any:
    """Return models of this module as dicts; containers that change in place are copied."""
    kind = type(value)
    if kind is list:
        return value.copy()
    if kind is dict:
        if BranchProgress in map(type, value.values()):
            return {
                key: _fields(item) if type(item) is BranchProgress else item
                for key, item in value.items()
            }
        return value.copy()
    return _fields(value) if kind in _MODELS else value
