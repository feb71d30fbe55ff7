"""``BrokenRecords``: which records a check found that cannot be restored whole, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["BrokenRecords"]

_WHOLE: frozenset[int] = frozenset()


class BrokenRecords:
    """Leads from record numbers to those of the damaged or missing records that are the cause.

    A damaged record is among its own causes. Of a pack that cannot be read nobody knows which
    records it held: every number up to the next pack counts as one, and the pack's base number is a
    cause of each.
    """

    def __init__(self) -> None:
        self._causes: dict[int, frozenset[int]] = {}
        self._unreadable: list[range] = []

    def add(self, number: int, causes: Iterable[int] = ()) -> None:
        """Note a record; without other causes it is damaged itself."""
        self._causes[number] = frozenset(causes) or frozenset({number})

    def add_pack(self, base: int, stop: int) -> None:
        """Note a pack that cannot be read, which held numbers from ``base`` to below ``stop``."""
        self._unreadable.append(range(base, stop))

    def causes(self, number: int) -> frozenset[int]:
        """Return why a record cannot be restored: nothing if it can."""
        known = self._causes.get(number, _WHOLE)
        if not known and self._unreadable:
            for numbers in self._unreadable:
                if number in numbers:
                    return frozenset({number, numbers.start})
        return known

    def below(self, links: Iterable[int]) -> frozenset[int]:
        """Return why a record that links to these cannot be restored: nothing if it can."""
        return _WHOLE.union(*map(self.causes, links)) if self else _WHOLE

    def is_damaged(self, number: int) -> bool:
        """Whether a record is damaged or missing itself."""
        return number in self.causes(number)

    def __contains__(self, number: int) -> bool:
        return bool(self.causes(number))

    def __iter__(self) -> Iterator[int]:
        """Iterate over the records that were noted, without those of packs that cannot be read."""
        return iter(self._causes)

    def __bool__(self) -> bool:
        return bool(self._causes or self._unreadable)
