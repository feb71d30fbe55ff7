"""What ``--json`` prints of the store itself, as types; see ``hive.cli.shapes``."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict  # pydantic cannot read typing's own before Python 3.12

__all__: list[str] = []  # the shapes have no docstrings: those of their keys are the reference


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


class ReasonJson(TypedDict):
    rule: str
    """a stable word, such as `head` or `keep_last`"""
    text: str


class VerdictJson(TypedDict):
    run: str
    sequence: int
    id: str
    keep: bool
    hidden: bool
    """kept for others alone, and not listed any more"""
    reasons: list[ReasonJson]


class ForgetJson(TypedDict):
    dry_run: bool
    kept: int
    """hidden ones included"""
    hidden: int
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
