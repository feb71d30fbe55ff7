"""What the rules of a redaction find in execution records, under the names that users know.

A rule for ``token`` is for that key of the state. The executors note the same values beside it: as
inputs, as what branches wrote, in the text of a plan. There they are replaced as in the state. What
the executors need to go on is never replaced, whatever it is called.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hive import errors
from hive.graph.equality import is_same_data
from hive.graph.fingerprint import FREE_FIELDS, text_of
from hive.graph.places import BESIDE_STATES, LIKE_STATES, changed_branch, changed_record

if TYPE_CHECKING:
    from manifests import Repository
    from manifests.parts import Structure

__all__ = ["SAVED_STATE", "Discretion", "News", "news_in"]

SAVED_STATE: Final = "saved_state"
"""What rules call what a node saved of itself, where that has no keys."""

_PLACES: Final = {name: LIKE_STATES[name] + BESIDE_STATES[name] for name in LIKE_STATES}
_TEXTS: Final = ("graph", "goal", "plan")

_Seen = dict[tuple[str | None, int], tuple[Any, Any]]
"""By name and id of a value: the value, and what is stored of it. Texts have no name."""


class Discretion:
    """Replaces, in the records of one run, what rules name.

    Values in records never change, so what was looked through for the record before is not looked
    through again: a record costs what is new in it.
    """

    def __init__(self, repository: Repository) -> None:
        """Replace what the rules of this repository name."""
        self._repository = repository
        self._before: _Seen = {}

    @classmethod
    def of(cls, repository: Repository) -> Discretion | None:
        """Return what replaces values for a repository, None if it has no rules."""
        return None if repository.redaction is None else cls(repository)

    def record(self, record: Mapping[str, Any]) -> Structure:
        """Return an execution record, in which nothing may ever change, as it is to be stored.

        Raises:
            InvalidInputError: A value cannot be stored.
            LimitError: It is too deep or too large.
        """
        from manifests.parts import Structure

        look = _Look(self._repository, self._before)
        places = _PLACES.get(record.get("executor", ""), ())
        stored = changed_record(dict(record), places, look.value)
        stored |= {name: look.text(stored[name]) for name in _TEXTS if name in stored}
        self._before = look.seen
        return Structure(stored)

    def branch(self, branch: Mapping[str, Any]) -> Structure:
        """Return the record of one branch of a graph as it is to be stored. Raises the same."""
        from manifests.parts import Structure

        look = _Look(self._repository, self._before)
        return Structure(changed_branch(branch, _PLACES["graph"], look.value))

    def text(self, text: str) -> str:
        """Return a canonical text as it is stored. Raises the same."""
        return _Look(self._repository, {}).text(text)

    def given(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return input as a resumed run finds it. Raises the same."""
        return self._repository.redacted(fields)


class News(NamedTuple):
    """What of some input is new to a run.

    Attributes:
        is_known: The run was given it before, as far as can be told.
        fields: What is new, or may be: what was replaced in the record is the same for any secret.
    """

    is_known: bool
    fields: dict[str, Any]


def news_in(
    given: dict[str, Any], inputs: Sequence[Mapping[str, Any]], discretion: Discretion | None
) -> News:
    """Compare input with that which a run was given before.

    Args:
        given: The input.
        inputs: Those of the run, as its record has them.
        discretion: What replaced values in them; None if nothing did.
    """
    if not given or any(is_same_data(given, old) for old in inputs):
        return News(True, {})
    stored = given if discretion is None else discretion.given(given)
    if stored is given or not any(is_same_data(stored, old) for old in inputs):
        return News(False, given)
    return News(True, {name: given[name] for name in given if stored[name] is not given[name]})


class _Look:
    """One look through a record, which knows what the one before it saw."""

    def __init__(self, repository: Repository, before: _Seen) -> None:
        self._repository = repository
        self._before = before
        self.seen: _Seen = {}

    def value(self, value: Any) -> Any:
        """Return what is stored of a mapping, or of something else that a node saved."""
        if type(value) is dict:
            return self._fields(value)
        return self._fields({SAVED_STATE: value})[SAVED_STATE]

    def text(self, text: str) -> str:
        """Return a canonical text with what people put into it replaced."""
        known = self._before.get((None, id(text)))
        if known is None:
            stored = _json(self._plain(json.loads(text)))
            known = text, text if stored == text else stored
        self.seen[None, id(text)] = known
        result: str = known[1]
        return result

    def _plain(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: self._repository.redacted(item, typed=False)
            if key in FREE_FIELDS and isinstance(item, dict)
            else self._plain(item)
            for key, item in value.items()
        }

    def _fields(self, fields: dict[str, Any]) -> Any:
        new, stored = {}, {}
        for name, value in fields.items():
            place = name, id(value)
            known = self.seen.get(place) or self._before.get(place)
            if known is None:
                new[name] = value
            else:
                self.seen[place] = known
                stored[name] = known[1]
        for name, kept in self._repository.redacted(new, typed=False).items():
            self.seen[name, id(fields[name])] = fields[name], kept
            stored[name] = kept
        changed = any(stored[name] is not value for name, value in fields.items())
        return {name: stored[name] for name in fields} if changed else fields


def _json(fields: Any) -> str:
    try:
        return text_of(fields)
    except TypeError:
        raise errors.InvalidInputError(
            "what a redaction puts into a plan, a graph or a goal has to be JSON data: a text, say"
        ) from None
