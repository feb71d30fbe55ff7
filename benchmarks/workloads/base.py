"""What a workload is: runs whose state grows by the writes of one step after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

__all__ = ["Kind", "Patch", "Step", "Turn", "Workload", "apply_writes"]

Kind = Literal["append", "merge", "patch", "replace"]
"""How a write changes its part of the state: extends a list, updates a dict, changes a slice of an
array or byte string, or takes its place."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Values that replace those of an array or byte string from position ``start`` on."""

    start: int
    values: Any


@dataclass(frozen=True, slots=True)
class Turn:
    """What one step of a run writes.

    ``writes`` has a value for every part of the state that changes. ``novel`` is what nothing
    before held, as bytes: the stream of all of it, compressed, is what a perfect store would keep.
    """

    run: str
    writes: Mapping[str, Any]
    novel: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """The state of a run after its ``index``-th turn (from 1), with the turn that led there.

    The state is live: the next step of the run changes it in place. Items that do not change stay
    the same objects.
    """

    run: str
    index: int
    state: dict[str, Any]
    turn: Turn

    @property
    def changed(self) -> tuple[str, ...]:
        """The top-level keys that differ from the step before."""
        return tuple(self.turn.writes)


class Workload(ABC):
    """Runs of an agent, the same in every process. The kinds name all parts of the state."""

    name: str
    kinds: ClassVar[Mapping[str, Kind]]

    @abstractmethod
    def turns(self) -> list[Turn]:
        """Return all turns in the order in which they are saved. Made once, then kept."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is, in a few words, with its size."""

    def steps(self) -> Iterator[Step]:
        """Yield all steps. Containers are made anew, so that nobody sees another one's changes."""
        states: dict[str, dict[str, Any]] = {}
        indices: dict[str, int] = {}
        for turn in self.turns():
            state = states.setdefault(turn.run, {})
            apply_writes(state, turn.writes, self.kinds)
            indices[turn.run] = indices.get(turn.run, 0) + 1
            yield Step(turn.run, indices[turn.run], state, turn)

    def runs(self) -> dict[str, int]:
        """Return the runs with their numbers of steps, in order of their first step."""
        counts: dict[str, int] = {}
        for turn in self.turns():
            counts[turn.run] = counts.get(turn.run, 0) + 1
        return counts

    def state_at(self, run: str, index: int) -> dict[str, Any]:
        """Return the state of a run after its ``index``-th turn, from 1."""
        state: dict[str, Any] = {}
        mine = (turn for turn in self.turns() if turn.run == run)
        for turn, _ in zip(mine, range(index), strict=False):
            apply_writes(state, turn.writes, self.kinds)
        return state


def apply_writes(
    state: dict[str, Any], writes: Mapping[str, Any], kinds: Mapping[str, Kind]
) -> None:
    """Change a state in place as its agent would."""
    for key, value in writes.items():
        kind = kinds[key]
        if kind == "append":
            state.setdefault(key, []).extend(value)
        elif kind == "merge":
            state.setdefault(key, {}).update(value)
        elif kind == "patch" and isinstance(value, Patch):
            state[key] = _patched(state[key], value)
        elif kind == "patch":
            state[key] = value.copy() if hasattr(value, "copy") else value
        else:
            state[key] = value


def _patched(whole: Any, patch: Patch) -> Any:
    """Change an array in place; byte strings cannot be, so a new one is returned."""
    stop = patch.start + len(patch.values)
    if isinstance(whole, bytes):
        return b"".join((whole[: patch.start], patch.values, whole[stop:]))
    whole[patch.start : stop] = patch.values
    return whole
