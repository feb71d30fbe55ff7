"""All that a store has on its disk, as bytes in which texts can be looked for."""

from __future__ import annotations

from pathlib import Path

from cas.packs import Pack
from cas.records import OBJECTS, record_place
from tests.manifests.test_check import all_rows

__all__ = ["stored"]


def stored(home: Path) -> bytes:
    """Return every row, every object as it was before compression, and every file of a home."""
    found: list[bytes] = []
    packs: dict[int, bytes] = {}
    for name, rows in all_rows(home).items():
        for key, row in rows:
            found += [key, row]
            if name == OBJECTS.name.encode():
                base, _fragment = record_place(key)
                packs[base] = packs.get(base, b"") + row
    for base, data in packs.items():
        pack = Pack(base, data)
        found += [pack.payload(index) for index in range(len(pack.numbers))]
    found += [file.read_bytes() for file in home.rglob("*") if file.is_file()]
    return b"\0".join(found)
