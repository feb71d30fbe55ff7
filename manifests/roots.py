"""The tables whose rows keep records from being collected, and how to find the numbers in them.

A table that a later version adds belongs in ``LAYOUT``: among the roots if its rows name records.
Leases come and go with their processes, without a note in the log of roots: they are transient.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Final

import cbor2

from cas.environment import Table
from cas.leases import LEASES, is_part
from cas.roots import Layout, RootTable
from cas.shape import Shape, numbers_in, record_number, shaped
from manifests.claims import CLAIMS
from manifests.effects import EFFECT_ROOTS, EFFECTS
from manifests.pending_rows import PENDING, PENDING_ROOTS
from manifests.rows import (
    CHECKPOINT_SHAPES,
    CHECKPOINTS,
    PIN_SHAPES,
    PINS,
    TABLES,
    TAG_SHAPES,
    TAGS,
    run_of,
)

__all__ = ["LAYOUT", "STORE_TABLES"]


def _fields(kind: str, table: Table, shapes: Collection[Shape], place: int) -> RootTable:
    """Return the roots of a table whose rows are arrays with a record number at ``place``."""

    def numbers(_key: bytes, row: bytes) -> Iterable[int]:
        return (record_number(shaped(row, shapes)[place]),)

    def renumbered(_key: bytes, row: bytes, new: Callable[[int], int]) -> bytes:
        fields = shaped(row, shapes)
        fields[place] = new(fields[place])
        return cbor2.dumps(fields)

    return RootTable(kind, table, numbers, renumbered)


def _leased(key: bytes, row: bytes) -> Iterable[int]:
    return numbers_in(row) if is_part(key) else ()


def _leased_anew(key: bytes, row: bytes, new: Callable[[int], int]) -> bytes:
    return cbor2.dumps([new(number) for number in numbers_in(row)]) if is_part(key) else row


_LEASES: Final = RootTable("leases", LEASES, _leased, _leased_anew)
_ROOTS: Final = (
    replace(_fields("checkpoints", CHECKPOINTS, CHECKPOINT_SHAPES, 0), group=run_of),
    _fields("tags", TAGS, TAG_SHAPES, 1),
    _fields("pins", PINS, PIN_SHAPES, 0),
    PENDING_ROOTS,
    EFFECT_ROOTS,
    _LEASES,
)
_NAMING: Final = {root.table for root in _ROOTS}
LAYOUT: Final = Layout(
    roots=_ROOTS,
    plain=(*(table for table in TABLES if table not in _NAMING), CLAIMS),
    transient=(_LEASES,),
)
STORE_TABLES: Final = (*TABLES, PENDING, EFFECTS, LEASES, CLAIMS)
"""What a repository's store is opened with, besides the tables of objects."""
