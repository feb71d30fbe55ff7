"""Reading another saver's values without losing what class they were of.

A record of a class that nobody named is kept as the bytes it has. A saver that is told of the class
later gives the value back as it was, one that is not gives plain data.
"""

from __future__ import annotations

from typing import Any

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import EXT_DELTA_SNAPSHOT
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from hive.adapters.langgraph.codecs import MESSAGES, Opaque
from hive.adapters.langgraph.serializer import (
    OF_CLASSES,
    StrictSerializer,
    allows_name,
    unpacked,
)

__all__ = ["VerbatimSerializer"]


class VerbatimSerializer(StrictSerializer):
    """Returns ``Opaque`` bytes in place of whatever it would return as plain data."""

    def __init__(self) -> None:
        super().__init__(MESSAGES)

    def _extension(self, code: int, content: bytes) -> Any:
        if code == EXT_DELTA_SNAPSHOT:
            return _DeltaSnapshot(unpacked(content, self._extension))
        if self._has_strangers(code, content):
            return Opaque("msgpack", ormsgpack.packb(ormsgpack.Ext(code, content)))
        return super()._extension(code, content)

    def _has_strangers(self, code: int, content: bytes) -> bool:
        """Whether a record, or one in it, is of a class that is not given back."""
        within: list[bool] = []

        def look(code: int, content: bytes) -> str:
            within.append(self._has_strangers(code, content))
            return ""

        parts = unpacked(content, look)
        if code not in OF_CLASSES:
            return any(within)
        match parts:
            case [str(module), str(name), *_]:
                return any(within) or not allows_name(self, module, name)
        return True  # of what is no class: LangGraph would tell a log what stands there instead
