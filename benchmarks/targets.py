"""The limits that Hive sets itself, and whether a run of the benchmarks kept them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.floor import Floor
from benchmarks.results import Measured, Results

__all__ = ["Target", "check_targets"]

MB = 1e6

_CONVERSATIONS = ("chat-1000", "deep-agent")
_BYTES = {
    "chat-1000": 1.6,
    "deep-agent": 1.5,
    "shared-context": 1.6,
    "wide": 4.0,
    "binary": 1.25,
}
_BEFORE_COMPACT = 1.5
_BELOW_GIT = ("chat-200", "chat-1000", "deep-agent", "shared-context", "wide")
_LOADED = ("chat-200", *_BYTES, "airline")
_WHOLE_STATES = ("sqlite-rows", "pickle-files", "cbor-files")
"""Peers that keep every state whole: loading one is reading it, so they may be faster."""
_PEERS = ("langgraph", "langgraph-delta", "git", *_WHOLE_STATES)


@dataclass(frozen=True, slots=True)
class Target:
    """A limit and what was measured. NaN: the run did not measure it."""

    topic: str
    text: str
    value: float
    limit: float
    unit: str = "x"
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """``pass``, ``fail`` or ``-``."""
        if math.isnan(self.value):
            return "-"
        kept = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "pass" if kept else "fail"


def check_targets(results: Results) -> list[Target]:
    """Return all limits with what a run measured."""
    groups: tuple[Callable[[Results], Iterator[Target]], ...] = (
        _bytes,
        _saves,
        _turns,
        _loads,
        _figures,
    )
    return [target for group in groups for target in group(results)]


def _bytes(results: Results) -> Iterator[Target]:
    for workload, limit in _BYTES.items():
        for text, value, most in (
            ("after compact", lambda item: item.compact_bytes, limit),
            ("before", lambda item: item.saved_bytes, limit * _BEFORE_COMPACT),
        ):
            ratio = results.ratio(workload, "hive", value, "floor", lambda item: item.zstd_bytes)
            yield Target("bytes", f"{workload}, {text}, to the zstd-3 minimum", ratio, most)
    for workload in _BELOW_GIT:
        ratio = results.ratio(workload, "hive", _compact, "git", _compact)
        yield Target("bytes", f"{workload}, after compact, to git + gc", ratio, 1.0)
    size = results.peer("airline", "hive", _compact) / MB
    yield Target("bytes", "airline runs, after compact", size, 2.5, "MB")


def _saves(results: Results) -> Iterator[Target]:
    for workload in _CONVERSATIONS:
        trusted = "with changed= and trust_identity"
        ratio = results.ratio(workload, "hive-trusted", _late, "hive-trusted", _early)
        yield Target("save", f"{workload}, late to early, {trusted}", ratio, 1.3)
        ratio = results.ratio(workload, "hive-trusted", _late, "langgraph-delta", _late)
        yield Target("save", f"{workload}, late, to DeltaChannel, {trusted}", ratio, 1.0)
        ratio = results.ratio(workload, "hive-changed", _late, "langgraph-delta", _late)
        yield Target("save", f"{workload}, late, to DeltaChannel, with changed=", ratio, 1.5)
        ratio = results.ratio(workload, "hive-trusted", _early, "floor", _commit_early)
        yield Target("save", f"{workload}, early, to a raw commit of the same bytes", ratio, 2.0)
        ratio = results.ratio(workload, "hive", _late, "floor", _allowance)
        yield Target("save", f"{workload}, late, to 0.6 dumps + 2.5 raw commits", ratio, 1.0)


def _turns(results: Results) -> Iterator[Target]:
    """Save and load together, against the fastest peer that does both."""
    for workload in _CONVERSATIONS:
        ratios = {
            peer: results.ratio(workload, "hive-trusted", _turn, peer, _turn) for peer in _PEERS
        }
        peer, ratio = _worst(ratios)
        yield Target("turn", f"{workload}, load + late save, to the best peer ({peer})", ratio, 1.0)


def _loads(results: Results) -> Iterator[Target]:
    for workload in _LOADED:
        for place, value, loads in (
            ("latest", _latest, lambda floor: floor.loads_latest_ms),
            ("latest again", _again, lambda floor: floor.loads_latest_ms),
            ("middle", _middle, lambda floor: floor.loads_middle_ms),
        ):
            # Decoding an array from CBOR is a copy, which no store that verifies can be near.
            ratio = results.ratio(workload, "hive", value, "floor", loads)
            yield Target("load", f"{workload}, {place}, to cbor2.loads", ratio, 4.0)
    for workload in _CONVERSATIONS:
        ratios = {
            peer: results.ratio(workload, "hive", _latest, peer, _latest)
            for peer in _PEERS
            if peer not in _WHOLE_STATES
        }
        peer, ratio = _worst(ratios)
        yield Target("load", f"{workload}, latest, to the best peer ({peer})", ratio, 1.0)


def _figures(results: Results) -> Iterator[Target]:
    def target(topic: str, name: str, text: str, limit: float, unit: str = "x") -> Target:
        return Target(topic, text, results.figure(name), limit, unit)

    def least(topic: str, name: str, text: str, limit: float) -> Target:
        return Target(topic, text, results.figure(name), limit, at_least=True)

    yield target("cpu", "cpu-scalar", "one scalar beside 10,000 messages, to dumps", 0.6)
    yield target("cpu", "cpu-scalar-named", "the same, with changed=", 0.02)
    yield target("cpu", "cpu-append", "one message after 10,000, to dumps", 0.6)
    yield target("cpu", "cpu-append-named", "the same, with changed=", 0.6)
    yield target("graph", "overhead-sync", "overhead on 20 ms nodes, sync", 5.0, "%")
    yield target("graph", "overhead-async", "overhead on 20 ms nodes, async", 1.0, "%")
    yield target("group", "single-slowdown", "one run alone: raw commits per checkpoint", 2.0)
    for kind in ("thread", "task"):
        yield least("group", f"{kind}-gain", f"64 {kind}s, to one run alone", 3.0)
        yield target("group", f"{kind}-syncs", f"syncs per checkpoint, 64 {kind}s", 1 / 16, "")
    yield target("group", "process-lost", "4 processes: acknowledged and lost", 0, "")
    yield least("group", "process-spread", "4 processes: the slowest, to an even share", 0.5)
    yield target("gc", "gc-p99", "commit p99 beside gc, to the same work without", 3.0)
    yield target("gc", "million-most", "1,000,000 objects, 90 % of checkpoints forgotten", 60, "s")
    yield target("gc", "million-most-runs", "the same, 90 % of runs deleted", 60, "s")
    yield target("gc", "million-nothing", "the same, nothing to do", 0.2, "s")
    yield target("gc", "million-one", "the same, one checkpoint forgotten", 1.0, "s")
    yield target("gc", "million-one-old", "the same, one of the oldest", 1.0, "s")
    yield target("gc", "million-memory", "the same, anonymous memory", 400, "MB")
    yield target("large", "large-save-memory", "16 x 64 MiB: memory of saving, to the state", 1.3)
    yield target("large", "large-restore-memory", "16 x 64 MiB: memory of restoring", 1.3)
    yield target("large", "large-replaced", "one text replaced, to the first save", 1 / 8)


def _worst(ratios: dict[str, float]) -> tuple[str, float]:
    """Return the peer that comes off best against Hive, and Hive's ratio to it."""
    known = {peer: ratio for peer, ratio in ratios.items() if not math.isnan(ratio)}
    if not known:
        return "none", float("nan")
    peer = max(known, key=lambda name: known[name])
    return peer, known[peer]


def _compact(item: Measured) -> float:
    return item.compact_bytes


def _early(item: Measured) -> float:
    return item.early_p50


def _late(item: Measured) -> float:
    return item.late_p50


def _latest(item: Measured) -> float:
    return item.load_latest


def _again(item: Measured) -> float:
    return item.load_again


def _middle(item: Measured) -> float:
    return item.load_middle


def _turn(item: Measured) -> float:
    return item.late_p50 + item.load_again


def _commit_early(floor: Floor) -> float:
    return floor.commit_early_ms


def _allowance(floor: Floor) -> float:
    return 0.6 * floor.dumps_late_ms + 2.5 * floor.commit_late_ms
