"""What ``--json`` prints, as types: one place for mypy, for the tests and for the documents.

What is about the store itself stands in ``hive.cli.store_shapes``. Commands import these modules
for annotations only, so they cost nothing. ``tools.commands`` makes the reference and the JSON
Schema in ``docs/reference`` from them, and the tests check what commands print against them. Keys
may be added; none is removed, renamed or given another type.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from typing_extensions import TypedDict  # pydantic cannot read typing's own before Python 3.12

from hive.cli.store_shapes import (
    BundleJson,
    CheckJson,
    CompactJson,
    DoctorJson,
    ForgetJson,
    GcJson,
    HomeJson,
    ImportedThreadsJson,
    ImportJson,
    RepairJson,
    SalvageJson,
    StatsJson,
)

__all__ = ["SHAPES", "Status"]

Status = Literal["done", "failed", "paused", "running", "interrupted", "unfinished", "abandoned"]


class CheckpointJson(TypedDict):
    id: str
    """64 hex digits"""
    run: str
    sequence: int
    """counts the run's checkpoints from 1"""
    parent: str | None
    """id of the checkpoint it was made from"""
    kind: str
    """`input`, `node_complete`, `attempt_failed`, `paused`, `failed`, `final`, ..."""
    node: str | None
    next_nodes: list[str]
    created_at: str
    """ISO 8601, UTC"""
    graph: str | None
    """digest of the graph that was run"""
    labels: dict[str, str]
    logical_bytes: int
    """the state as a full copy"""
    new_bytes: int
    """what saving it added to this store"""
    new_objects: int
    origin_run: str
    """where it was first saved"""
    origin_sequence: int
    tags: list[str]


class WaitJson(TypedDict):
    kind: Literal["input", "approval", "escalation"]
    step: str
    """the node or step"""
    message: str | None
    """what is asked"""


class MarkedJson(CheckpointJson):
    status: Status
    """of the run now"""


class RunJson(TypedDict):
    run: str
    status: Status
    steps: int | None
    """null when the run's program does not note it"""
    last_node: str | None
    checkpoints: int
    """how many are kept"""
    created_at: str
    updated_at: str
    unique_bytes: int | None
    """bytes of the objects that only this run holds; null when not measured"""
    shared_bytes: int | None
    """bytes of those that others hold as well"""
    waits: list[WaitJson]
    """what a paused run waits for"""
    head: CheckpointJson


class UnreadableRunJson(TypedDict):
    run: str
    """its name, or what is left of that"""
    status: Literal["damaged", "newer"]
    """`newer`: a later version of Hive wrote its head"""
    error: str


class TouchedJson(TypedDict):
    kind: Literal["added", "removed", "changed"]
    """what became of the part itself"""
    path: str
    """a key of the state; empty for the whole of a state that is no dict"""
    added: int
    """places below it; all 0 if it was replaced as a whole"""
    removed: int
    changed: int


class LogJson(CheckpointJson):
    forks: list[str]
    """other runs that begin here"""
    changed: list[TouchedJson] | None
    """against the parent; null if that was forgotten"""


class PendingJson(TypedDict):
    task: str
    path: str
    """where the task stands among the others of its step"""
    index: int
    """which of the task's writes it is; below zero for a framework's own"""
    name: str
    value: Any
    """see Values in JSON"""


class ShownStateJson(CheckpointJson):
    state: Any
    """see Values in JSON"""
    not_in_state: list[str]
    """a thread's delta channels whose values LangGraph makes from what earlier steps wrote"""
    pending: list[PendingJson]
    """what tasks behind this checkpoint have written that is in no state yet"""


class RecordedEffectJson(TypedDict):
    name: str
    after: int
    """the run's last sequence when it was recorded; 0 for none, or what came with a fork"""
    value: Any
    """see Values in JSON"""


class ShownValueJson(CheckpointJson):
    path: str
    value: Any
    """see Values in JSON"""


class ChangeJson(TypedDict):
    kind: Literal["added", "removed", "changed"]
    path: str
    """empty for the state as a whole"""
    before: Any
    """see Values in JSON; null for what was added"""
    after: Any
    """null for what was removed"""


class DiffJson(TypedDict):
    before: CheckpointJson
    after: CheckpointJson
    complete: bool
    """false if there are more changes than `--limit`"""
    changes: list[ChangeJson]


class MatchJson(TypedDict):
    run: str
    sequence: int
    """the first searched checkpoint of the run that has it there"""
    id: str
    path: str
    text: str
    """the line that matches, cut to 200 characters around the match"""
    start: int
    """where in `text` the match begins"""
    end: int
    pending: str | None
    """null: the state has it; else the name of a pending write, and `path` leads on in its value"""
    task: str | None
    """of the pending write"""


class PinJson(CheckpointJson):
    reason: str


class TagJson(TypedDict):
    tag: str


class DeletedRunJson(TypedDict):
    run: str
    checkpoints: int


class ResultJson(TypedDict):
    run: str
    status: Literal["done", "paused", "failed"]
    steps: int
    path: list[str]
    """the nodes in the order in which they ran"""
    paused_at: str | None
    error: str | None
    checkpoint: str | None
    """id of the last one"""
    output: Any
    """see Values in JSON"""
    waits: list[WaitJson]
    """what it waits for"""


class ProcessesJson(TypedDict):
    killed: int
    resumed: int
    unbroken: int


class EffectJson(TypedDict):
    event: str
    node: str
    visit: int
    attempt: int
    key: str
    """the idempotency key"""
    pid: int


class ClaimJson(TypedDict):
    claim: str
    holds: bool


class DemoJson(TypedDict):
    folder: str
    home: str
    run: str
    unbroken_run: str
    report: str
    """path of the page that it wrote"""
    processes: ProcessesJson
    """process ids"""
    effects: list[EffectJson]
    """what the processes logged"""
    checkpoints: list[CheckpointJson]
    """oldest first"""
    unbroken_new_bytes: int
    disk_bytes: int
    checks: list[ClaimJson]


class PagesJson(TypedDict):
    url: str
    """holds the token; printed once the pages can be opened"""
    port: int


class NextStepJson(TypedDict):
    command: str
    why: str


class OverviewJson(TypedDict):
    home: str
    runs: int | None
    """null if there is no store"""
    unreadable: list[UnreadableRunJson]
    """those of the runs that cannot be read"""
    next: list[NextStepJson]


SHAPES: Final[dict[str, Any]] = {
    "": OverviewJson,
    "runs": list[RunJson | UnreadableRunJson],
    "log": list[LogJson],
    "show": ShownStateJson | ShownValueJson,
    "effects": list[RecordedEffectJson],
    "diff": DiffJson,
    "grep": list[MatchJson],
    "stats": StatsJson,
    "doctor": DoctorJson,
    "ui": PagesJson,
    "demo": DemoJson,
    "run": ResultJson,
    "resume": ResultJson,
    "abandon": MarkedJson,
    "tag": CheckpointJson,
    "untag": TagJson,
    "pin": PinJson,
    "unpin": CheckpointJson,
    "fork": CheckpointJson,
    "forget": ForgetJson,
    "rm": DeletedRunJson,
    "gc": GcJson,
    "compact": CompactJson,
    "check": CheckJson | RepairJson,
    "salvage": SalvageJson,
    "export": BundleJson,
    "import": ImportJson,
    "import-langgraph": ImportedThreadsJson,
    "backup": HomeJson,
}
"""By command, what it prints with ``--json``."""
