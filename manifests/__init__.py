"""Checkpoints of runs: values as trees of objects, manifests, history, and the repository."""

from __future__ import annotations

from cas.check import Damage
from manifests.browsing import Branch, Compared, Footprint
from manifests.check import CheckReport
from manifests.clock import Clock, system_clock
from manifests.collection import CompactReport, GcReport
from manifests.commits import PreparedCommit
from manifests.diff import Change, Touched
from manifests.events import Event, Events
from manifests.excerpt import Excerpt
from manifests.export import ExportReport
from manifests.forgetting import ForgetPlan
from manifests.importing import ImportReport
from manifests.manifest import Checkpoint, RunInfo, RunStats, StoreStats
from manifests.outline import Outline, Part, Unread
from manifests.parameters import TreeParameters
from manifests.paths import Redaction
from manifests.pending import PendingWrite
from manifests.refs import RefLike
from manifests.registry import Registry, UnregisteredValue
from manifests.repair import RepairReport
from manifests.repository import Repository
from manifests.retention import KeepEvery, Reason, RetentionPolicy, Verdict
from manifests.search import Match
from manifests.snapshots import Snapshot
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
    "Outline",
    "Part",
    "PendingWrite",
    "Pin",
    "PreparedCommit",
    "Reason",
    "Redaction",
    "RefLike",
    "Registry",
    "RepairReport",
    "Repository",
    "RetentionPolicy",
    "RunInfo",
    "RunStats",
    "Snapshot",
    "StoreStats",
    "Touched",
    "TreeParameters",
    "Unread",
    "UnregisteredValue",
    "Verdict",
    "system_clock",
]
