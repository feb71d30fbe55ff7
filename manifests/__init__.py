"""Checkpoints of runs: values as trees of objects, manifests, history, and the repository."""

from __future__ import annotations

from manifests.clock import Clock, system_clock
from manifests.commits import PreparedCommit
from manifests.diff import Change
from manifests.forgetting import ForgetPlan
from manifests.manifest import Checkpoint, RunInfo, RunStats, StoreStats
from manifests.parameters import TreeParameters
from manifests.paths import Redaction
from manifests.refs import RefLike
from manifests.registry import Registry, UnregisteredValue
from manifests.repository import Repository
from manifests.retention import KeepEvery, Reason, RetentionPolicy, Verdict
from manifests.upkeep import Pin

__all__ = [
    "Change",
    "Checkpoint",
    "Clock",
    "ForgetPlan",
    "KeepEvery",
    "Pin",
    "PreparedCommit",
    "Reason",
    "Redaction",
    "RefLike",
    "Registry",
    "Repository",
    "RetentionPolicy",
    "RunInfo",
    "RunStats",
    "StoreStats",
    "TreeParameters",
    "UnregisteredValue",
    "Verdict",
    "system_clock",
]
