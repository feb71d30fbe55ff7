"""Reckons what a store that copies the whole state would have taken, had it been let to the end.

Its bytes are proportional to the sizes of all states together, its times to the size of one state.
Such numbers are marked wherever they are shown.
"""

from __future__ import annotations

from itertools import pairwise

import cbor2

from benchmarks.peers.plain import to_plain
from benchmarks.results import Measured
from benchmarks.workloads import Workload

__all__ = ["extrapolate"]

_POINTS = 50


def extrapolate(found: Measured, workload: Workload) -> None:
    """Scale the values of a store that was stopped after ``found.steps`` steps."""
    sizes = _sizes(workload)
    done, total = found.steps, len(sizes)
    all_states = sum(sizes) / sum(sizes[:done])
    last_state = sizes[-1] / sizes[done - 1]
    middle_state = sizes[(total - 1) // 2] / sizes[(done - 1) // 2]
    found.limited_to, found.steps = done, total
    for name in ("saved_bytes", "forgotten_bytes", "forget_seconds"):
        setattr(found, name, getattr(found, name) * all_states)
    for name in ("late_p50", "late_p95", "late_cpu", "load_latest", "load_again"):
        setattr(found, name, getattr(found, name) * last_state)
    found.load_middle *= middle_state


def _sizes(workload: Workload) -> list[float]:
    """Return the encoded size of the state after every step, measured at some and interpolated."""
    total = len(workload.turns())
    every = max(1, total // _POINTS)
    known = {
        position: float(len(cbor2.dumps(to_plain(step.state))))
        for position, step in enumerate(workload.steps())
        if position % every == 0 or position == total - 1
    }
    sizes: list[float] = []
    points = sorted(known)
    for left, right in pairwise(points):
        rise = (known[right] - known[left]) / (right - left)
        sizes += [known[left] + rise * offset for offset in range(right - left)]
    return [*sizes, known[points[-1]]]
