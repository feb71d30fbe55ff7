"""What ``--json`` prints, as types: one place for mypy, for the tests and for the documents.

Commands import this module for annotations only, so it costs them nothing. ``tools.commands``
makes the reference and the JSON Schema in ``docs/reference`` from it, and the tests check what
commands print against it. Keys may be added; none is removed, renamed or given another type.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic cannot read typing's own before Python 3.12

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


class PinJson(CheckpointJson):
    reason: str


class RunBytesJson(TypedDict):
    checkpoints: int
    logical_bytes: int
    unique_bytes: int
    shared_bytes: int


class StatsJson(TypedDict):
    home: str
    runs: int
    checkpoints: int
    objects: int
    """garbage included"""
    logical_bytes: int
    """every checkpoint as a full copy"""
    unique_bytes: int
    """each different object once"""
    stored_bytes: int
    """after compression"""
    disk_bytes: int
    """what the file system has allocated"""
    ratio: float | None
    """logical to stored; null for an empty store"""
    freeable_bytes: int | None
    """what a gc would free inside the file; null when it could not be found out"""
    by_run: dict[str, RunBytesJson]


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


class ReasonJson(TypedDict):
    rule: str
    """a stable word, such as `head` or `keep_last`"""
    text: str


class VerdictJson(TypedDict):
    run: str
    sequence: int
    id: str
    keep: bool
    reasons: list[ReasonJson]


class ForgetJson(TypedDict):
    dry_run: bool
    kept: int
    dropped: int
    verdicts: list[VerdictJson]


class DamageJson(TypedDict):
    kind: str
    text: str
    record: int | None
    digest: str | None
    table: str | None
    key: str | None
    """hex"""
    hits: list[str]
    """checkpoints (`run@12`), tags and pins that need it"""


class CheckJson(TypedDict):
    ok: bool
    checkpoints: int
    records: int
    read_data: bool
    hits: list[str]
    damage: list[DamageJson]


class MovedHeadJson(TypedDict):
    run: str
    before: int
    now: int


class RepairJson(TypedDict):
    dry_run: bool
    found: CheckJson
    restored: list[str]
    dropped: list[str]
    moved_heads: list[MovedHeadJson]
    fixed: list[str]
    objects: int


class SalvageJson(TypedDict):
    home: str
    """the home of the new store"""
    ok: bool
    """nothing is lost or missing"""
    runs: int
    checkpoints: int
    records: int
    lost: list[str]
    """what was there and cannot be restored"""
    missing: list[str]
    """what else is missing, in words"""
    uncertain: list[str]
    """what is back and may have been deleted before"""
    moved_heads: list[MovedHeadJson]
    fixed: list[str]
    damage: list[DamageJson]


class CompactJson(TypedDict):
    objects_kept: int
    objects_left_out: int
    bytes_before: int
    bytes_after: int
    bytes_returned_to_disk: int
    waited_seconds: float
    """how long others had to wait"""
    seconds: float


class GcJson(TypedDict):
    complete: bool
    """no garbage is left that was there when it began"""
    dry_run: bool
    scope: Literal["nothing", "changes", "everything"]
    """what was looked at"""
    objects_removed: int
    payload_bytes_removed: int
    """before compression"""
    bytes_freed_inside: int
    """inside the file, for new checkpoints"""
    bytes_returned_to_disk: int
    """always 0: only compact does that"""
    objects_kept: int
    roots: dict[str, int]
    """how many names of each kind keep objects"""
    batches: int
    seconds: float
    forget: NotRequired[ForgetJson]
    """with a policy"""
    compact: NotRequired[CompactJson]
    """with `--compact`"""


class BundleJson(TypedDict):
    file: str
    checkpoints: int
    objects: int
    file_bytes: int


class PlaceJson(TypedDict):
    run: str
    sequence: int


class ImportJson(TypedDict):
    checkpoints: list[PlaceJson]
    """what is listed now and was not before"""
    known: int
    objects: int
    new_objects: int
    new_bytes: int


class ImportedThreadsJson(TypedDict):
    threads: int
    """threads that the source has, of those asked for"""
    checkpoints: int
    """what is listed now and was not before"""
    known: int
    writes: int
    """pending writes of these checkpoints"""
    source_bytes: int
    bytes_before: int
    """what the store took on the disk"""
    bytes_after: int
    problems: list[str]
    """what could not be taken over"""


class HomeJson(TypedDict):
    home: str


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


class FindingJson(TypedDict):
    name: str
    """a stable word"""
    level: Literal["ok", "note", "warning", "error"]
    text: str


class DoctorJson(TypedDict):
    home: str
    ok: bool
    """no warning and no error"""
    findings: list[FindingJson]


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
    next: list[NextStepJson]


SHAPES: Final[dict[str, Any]] = {
    "": OverviewJson,
    "runs": list[RunJson],
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
