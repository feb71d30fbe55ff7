"""What a run has done in all, with what its branches and the visit it failed in have done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hive.graph.progress import Progress

__all__ = ["Totals", "totals_of"]


@dataclass(slots=True)
class Totals:
    """Counters of a run, or of a branch of it; the fields are those of ``Progress``."""

    path: list[str] = field(default_factory=list)
    steps: int = 0
    total_tokens: int = 0
    total_latency_ms: int = 0
    visits: dict[str, int] = field(default_factory=dict)
    retries: dict[str, int] = field(default_factory=dict)

    def add(self, other: Totals | Progress) -> None:
        """Count what came next, or beside."""
        self.path += other.path
        self.steps += other.steps
        self.total_tokens += other.total_tokens
        self.total_latency_ms += other.total_latency_ms
        for mine, theirs in ((self.visits, other.visits), (self.retries, other.retries)):
            for node, count in theirs.items():
                mine[node] = mine.get(node, 0) + count

    def add_visit(self, node: str, retries: int) -> None:
        """Count one visit that ended."""
        self.path.append(node)
        self.steps += 1
        self.visits[node] = self.visits.get(node, 0) + 1
        if retries:
            self.retries[node] = self.retries.get(node, 0) + retries

    def store(self, progress: Progress) -> None:
        """Make these the counters of ``progress``."""
        for name in Totals.__slots__:
            setattr(progress, name, getattr(self, name))


def totals_of(progress: Progress) -> Totals:
    """Return the counters of a run with those of its branches, in the order of merging."""
    totals = Totals()
    totals.add(progress)
    if progress.section is not None:
        for branch in progress.section.branches.values():
            totals.add(totals_of(branch.progress))
    if progress.failed_visit is not None:
        totals.add_visit(progress.failed_visit.node, progress.failed_visit.retries)
    return totals
