"""Who reads a store right now, and how old what they look at is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reader", "parse_readers"]


@dataclass(frozen=True, slots=True)
class Reader:
    """A read transaction of some process. ``behind`` counts the commits made since it began.

    Pages that it may look at are not used again, so the file grows for as long as it stays.
    """

    pid: int
    behind: int


def parse_readers(table: str, last: int) -> list[Reader]:
    """Return the readers in the table that LMDB prints (pid, thread, transaction in each line).

    Slots without a transaction are left out. ``last`` is the number of the last commit.
    """
    found = []
    for line in table.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[0].isdecimal() and fields[2].isdecimal():
            found.append(Reader(int(fields[0]), max(last - int(fields[2]), 0)))
    return found
