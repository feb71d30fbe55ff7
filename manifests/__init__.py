"""Checkpoints of runs: values as trees of objects, manifests, history, and the repository."""

from __future__ import annotations

from manifests.clock import Clock, system_clock
from manifests.commits import PreparedCommit
from manifests.diff import Change
from manifests.manifest import Checkpoint, RunInfo, RunStats, StoreStats
from manifests.parameters import TreeParameters
from manifests.paths import Redaction
from manifests.refs import RefLike
from manifests.registry import Registry, UnregisteredValue
from manifests.repository import Repository

__all__ = [
    "Change",
    "Checkpoint",
    "Clock",
    "PreparedCommit",
    "Redaction",
    "RefLike",
    "Registry",
    "Repository",
    "RunInfo",
    "RunStats",
    "StoreStats",
    "TreeParameters",
    "UnregisteredValue",
    "system_clock",
]
