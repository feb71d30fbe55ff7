"""Places inside a state, as people write them: ``state['messages'][3].tool``."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from cas.errors import InvalidInputError

__all__ = ["Alias", "Entry", "Field", "Redaction", "Step", "path_text"]


class Field(str):
    """A step to a field of a registered type (``.tool``), as against a key (``['tool']``)."""

    __slots__ = ()


class Alias(str):
    """A first step that has another name too; a rule may use either."""

    other: str

    def __new__(cls, name: str, other: str) -> Alias:
        """Return a step named ``name``, or ``other`` in a rule."""
        step = super().__new__(cls, name)
        step.other = other
        return step


@dataclass(frozen=True, slots=True)
class Entry:
    """A step to the entry of a dict, or the member of a set, at a position counted from 0.

    For those that nothing which can be written down leads to: a key that is an instance, a member.
    """

    at: int

    def __repr__(self) -> str:
        return f"#{self.at}"


Step = Any
"""A ``Field``, an index of a list, a key of a dict or an ``Entry``."""

_LONGEST_KEY: Final = 60
_INDEX: Final = re.compile(r"""(?<=[^.\[])\[(\*|-?\d+|'[^']*'|"[^"]*")\](?=\.|\[|$)""")
"""What people write for an item who think of ``messages[*].key``; nothing would be replaced."""


def _as_step(index: re.Match[str]) -> str:
    return "." + index[1].strip("'\"")


def path_text(steps: Sequence[Step], root: str = "state") -> str:
    """Return the path of ``steps`` from the root. Long keys are cut: values stay out of errors."""
    out = [root]
    for step in steps:
        if isinstance(step, Field):
            out.append(f".{step}")
        else:
            text = _shown(step, repr)
            out.append(f"[{text if len(text) <= _LONGEST_KEY else text[:_LONGEST_KEY] + '...'}]")
    return "".join(out)


def _shown(step: Step, show: Callable[[Step], str]) -> str:
    try:
        return show(step)
    except Exception:
        # An integer of more digits than Python prints, or a key whose class cannot be printed: the
        # error about the value matters more than this step.
        return f"<{type(step).__name__}>"


@dataclass(frozen=True)
class Redaction:
    """Replaces values before anything is hashed: secrets never reach the store.

    ``patterns`` are dotted paths below the state: ``messages.*.api_key``, ``config.token``,
    ``**.password`` (``*`` one step, ``**`` any number, also none; within a step, ``*`` and ``?``
    match as in file names). Items of lists have their index as a step, members of sets a number.
    ``replace(path, value)`` returns what is stored instead. Members that become equal become one.
    It has to return the same for the same, and what it returned before as it is: what a run that is
    resumed brings along is replaced again, and its input is compared with what is stored.
    """

    patterns: Sequence[str]
    replace: Callable[[str, Any], Any]

    def __post_init__(self) -> None:
        """Refuse what would match nothing and hide a mistake: a secret would be stored."""
        if isinstance(self.patterns, str):
            raise InvalidInputError("patterns is a list of patterns, not one pattern")
        if not callable(self.replace):
            raise InvalidInputError("replace is a function of a path and a value")
        for pattern in self.patterns:
            if not pattern or any(not part for part in pattern.split(".")):
                raise InvalidInputError(f"{pattern!r} is no redaction pattern; write 'a.*.b'")
            if _INDEX.search(pattern):
                steps = _INDEX.sub(_as_step, pattern).removeprefix("state.")
                raise InvalidInputError(
                    f"{pattern!r} would match no path: an index and a key are steps of their own, "
                    f"as in {steps!r}; of a key that is spelt like that, write ? for its brackets"
                )

    def matches(self, steps: Sequence[Step]) -> bool:
        """Whether the value at ``steps`` has to be replaced."""
        rules = self._rules
        if steps and type(steps[-1]) is not Alias:
            # Nearly every value is told from what a rule names by its last step alone.
            last = _shown(steps[-1], str)
            rules = [rule for rule in rules if _fits(last, rule[-1])]
        if not rules:
            return False
        ways = [steps]
        if steps and type(steps[-1]) is not Entry:
            # A rule may also leave out the step to a member of a set.
            ways.append([step for step in steps if type(step) is not Entry])
        if steps and type(steps[0]) is Alias:
            ways += [[steps[0].other, *way[1:]] for way in ways]
        names = [[_shown(step, str) for step in way] for way in ways]
        return any(_matches(rule, way) for rule in rules for way in names)

    @cached_property
    def _rules(self) -> list[list[str]]:
        return [pattern.split(".") for pattern in self.patterns]


def _fits(name: str, part: str) -> bool:
    """Whether a path may end with a name where a pattern ends with a part."""
    return part in (name, "**") or fnmatch.fnmatchcase(name, part)


def _matches(pattern: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a pattern fits, in steps of at most its length times theirs.

    Trying every way to share the names among several ``**`` would take minutes of a deep state.
    """
    reached = _behind_any(pattern, {0})
    for name in names:
        on = {at for at in reached if at < len(pattern) and pattern[at] == "**"}
        on |= {
            at + 1
            for at in reached
            if at < len(pattern) and pattern[at] != "**" and fnmatch.fnmatchcase(name, pattern[at])
        }
        reached = _behind_any(pattern, on)
    return len(pattern) in reached


def _behind_any(pattern: Sequence[str], reached: set[int]) -> set[int]:
    """Return places in a pattern with those behind each ``**`` there, which may stand for none."""
    found = set(reached)
    for at in reached:
        while at < len(pattern) and pattern[at] == "**":
            at += 1
            found.add(at)
    return found
