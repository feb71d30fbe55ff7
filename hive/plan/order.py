"""Which steps come before which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

__all__ = ["Order", "cycle_in"]


def cycle_in(dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """Return steps that wait for each other, in a circle; empty if none do."""
    try:
        TopologicalSorter(dependencies).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return []


class Order:
    """The order that dependencies without a cycle put steps into."""

    def __init__(self, dependencies: Mapping[str, Sequence[str]]) -> None:
        """Take the direct dependencies of every step, in the order of the plan."""
        self.before: dict[str, frozenset[str]] = {}
        for step in TopologicalSorter(dependencies).static_order():
            direct = dependencies[step]
            self.before[step] = frozenset(direct).union(*(self.before[other] for other in direct))
        place = {step: index for index, step in enumerate(dependencies)}
        # A step has more before it than any of those has, so this is a topological order, and
        # unlike the sorter's it depends on the plan alone.
        self.steps = sorted(self.before, key=lambda step: (len(self.before[step]), place[step]))
        """All steps, each after those it depends on."""

    def are_ordered(self, one: str, other: str) -> bool:
        """Tell whether one of two steps depends on the other, directly or not."""
        return one == other or one in self.before[other] or other in self.before[one]
