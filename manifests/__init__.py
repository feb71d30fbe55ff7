"""Checkpoints of runs: values as trees of objects, manifests, history, and the repository.

Names are imported when they are first used: who saves and restores does not load what checks,
repairs, collects and carries.
"""

from __future__ import annotations

from importlib import import_module  # noqa: TID251  only for the table below
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cas.check import Damage
    from cas.digest import Digest
    from cas.upkeep import Progress
    from manifests.browsing import Branch, Compared, Footprint
    from manifests.check import CheckReport
    from manifests.clock import Clock, system_clock
    from manifests.collection import CompactReport, GcReport
    from manifests.commits import PreparedCommit
    from manifests.diff import Change, Touched
    from manifests.effects import RecordedEffect
    from manifests.events import Event
    from manifests.excerpt import Excerpt
    from manifests.export import ExportReport
    from manifests.forgetting import ForgetPlan
    from manifests.importing import ImportReport
    from manifests.listeners import Events, OnEvent
    from manifests.manifest import Checkpoint, RunInfo, RunStats, StoreStats
    from manifests.outline import Outline, Part, Unread
    from manifests.parameters import TreeParameters
    from manifests.paths import Redaction
    from manifests.pending import PendingWrite
    from manifests.refs import RefLike
    from manifests.registry import Registry
    from manifests.repair import RepairReport
    from manifests.repository import Repository
    from manifests.retention import KeepEvery, Reason, RetentionPolicy, Verdict
    from manifests.runs import UnreadableRun
    from manifests.salvaging import SalvageReport, salvage
    from manifests.search import Match
    from manifests.snapshots import Snapshot
    from manifests.unregistered import UnregisteredValue
    from manifests.upkeep import Pin

__all__ = [
    "Branch",
    "Change",
    "CheckReport",
    "Checkpoint",
    "Clock",
    "CompactReport",
    "Compared",
    "Damage",
    "Digest",
    "Event",
    "Events",
    "Excerpt",
    "ExportReport",
    "Footprint",
    "ForgetPlan",
    "GcReport",
    "ImportReport",
    "KeepEvery",
    "Match",
    "OnEvent",
    "Outline",
    "Part",
    "PendingWrite",
    "Pin",
    "PreparedCommit",
    "Progress",
    "Reason",
    "RecordedEffect",
    "Redaction",
    "RefLike",
    "Registry",
    "RepairReport",
    "Repository",
    "RetentionPolicy",
    "RunInfo",
    "RunStats",
    "SalvageReport",
    "Snapshot",
    "StoreStats",
    "Touched",
    "TreeParameters",
    "Unread",
    "UnreadableRun",
    "UnregisteredValue",
    "Verdict",
    "salvage",
    "system_clock",
]

_PLACES: Final = {
    "Branch": "manifests.browsing",
    "Change": "manifests.diff",
    "CheckReport": "manifests.check",
    "Checkpoint": "manifests.manifest",
    "Clock": "manifests.clock",
    "CompactReport": "manifests.collection",
    "Compared": "manifests.browsing",
    "Damage": "cas.check",
    "Digest": "cas.digest",
    "Event": "manifests.events",
    "Events": "manifests.listeners",
    "Excerpt": "manifests.excerpt",
    "ExportReport": "manifests.export",
    "Footprint": "manifests.browsing",
    "ForgetPlan": "manifests.forgetting",
    "GcReport": "manifests.collection",
    "ImportReport": "manifests.importing",
    "KeepEvery": "manifests.retention",
    "Match": "manifests.search",
    "OnEvent": "manifests.listeners",
    "Outline": "manifests.outline",
    "Part": "manifests.outline",
    "PendingWrite": "manifests.pending",
    "Pin": "manifests.upkeep",
    "PreparedCommit": "manifests.commits",
    "Progress": "cas.upkeep",
    "Reason": "manifests.retention",
    "RecordedEffect": "manifests.effects",
    "Redaction": "manifests.paths",
    "RefLike": "manifests.refs",
    "Registry": "manifests.registry",
    "RepairReport": "manifests.repair",
    "Repository": "manifests.repository",
    "RetentionPolicy": "manifests.retention",
    "RunInfo": "manifests.manifest",
    "RunStats": "manifests.manifest",
    "SalvageReport": "manifests.salvaging",
    "Snapshot": "manifests.snapshots",
    "StoreStats": "manifests.manifest",
    "Touched": "manifests.diff",
    "TreeParameters": "manifests.parameters",
    "Unread": "manifests.outline",
    "UnreadableRun": "manifests.runs",
    "UnregisteredValue": "manifests.unregistered",
    "Verdict": "manifests.retention",
    "salvage": "manifests.salvaging",
    "system_clock": "manifests.clock",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)
