"""What a run of the benchmarks measures in which order, and leaves out if time is short."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from benchmarks.peers import Peer
from benchmarks.workloads import Workload

__all__ = ["PLOTTED", "Budget", "Job", "jobs_of"]

PLOTTED: Final = "chat-1000"
"""The workload whose bytes and times are kept step by step, for the plot."""

_ONCE: Final = ("large", "million")
"""Figures that take a minute or more, and are far from any noise."""

_LONG: Final = ("million",)
"""Figures that take some minutes: measured when everything quicker was, once."""

_JUDGED: Final = ("hive", "git")
"""Stores of whose bytes the limits speak."""

_TIMED: Final = ("chat-1000", "deep-agent")
"""Workloads of whose save times the limits speak."""


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement: a race of the quick stores, one store alone, or some figures."""

    kind: Literal["race", "alone", "figures"]
    subject: str
    """The workload, or the figures."""
    round: int = 0
    peer: type[Peer] | None = None

    def __str__(self) -> str:
        """Return what is measured, for people."""
        store = f" alone: {self.peer.name}" if self.peer else ""
        return f"round {self.round + 1}: {self.subject}{store}"


def jobs_of(
    workloads: Sequence[Workload],
    figures: Sequence[str],
    rounds: int,
    suited: Callable[[Workload], Sequence[type[Peer]]],
) -> Iterator[Job]:
    """Yield all measurements, the ones that the limits need most first.

    First everything once, workload by workload, of the stores measured alone only those that
    limits or the plot are about; then the further rounds; then the other stores alone, with those
    last that copy the whole state.
    """
    alone = [
        Job("alone", workload.name, peer=peer)
        for workload in workloads
        for peer in suited(workload)
    ]
    alone.sort(key=_urgency)
    urgent = [job for job in alone if _urgency(job)[0] < _REST]
    names = [workload.name for workload in workloads]
    names.sort(key=lambda name: name not in _TIMED)
    for number in range(rounds):
        for name in names:
            yield Job("race", name, number)
            yield from (job for job in urgent if job.subject == name and not number)
        for name in figures:
            if name not in (_ONCE if number else _LONG):
                yield Job("figures", name, number)
        if not number:
            yield from (Job("figures", name) for name in figures if name in _LONG)
    yield from alone[len(urgent) :]


_REST: Final = 2


def _urgency(job: Job) -> tuple[int, bool]:
    if job.peer is None or job.peer.name in _JUDGED:
        return 0, False
    return (1 if job.subject == PLOTTED else _REST), job.peer.copies


class Budget:
    """Knows what still fits into the time there is. ``minutes=None``: everything does."""

    def __init__(
        self, minutes: float | None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._clock = clock
        self._end = None if minutes is None else clock() + 60 * minutes
        self._taken: dict[Job, float] = {}
        self._started = 0.0

    def begin(self, job: Job) -> bool:
        """Return whether a job is to be done, and start its clock.

        It is if as much time is left as the same took in an earlier round, or as the race on that
        workload took. What never ran is begun as long as any time is left.
        """
        self._started = self._clock()
        if self._end is None:
            return True
        like = replace(job, round=0, peer=None)
        expected = self._taken.get(like, self._taken.get(replace(like, kind="race"), 0.0))
        return self._started + expected < self._end

    def end(self, job: Job) -> None:
        """Note how long the job took."""
        like = replace(job, round=0, peer=None)
        taken = self._clock() - self._started
        self._taken[like] = max(taken, self._taken.get(like, 0.0))
