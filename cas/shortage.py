"""A lack of memory, told from damage: libraries wrap it in their errors for bytes that are bad.

A check would report what it had no memory for as damaged, and a repair would drop it.
"""

from __future__ import annotations

from typing import Final

import cbor2
import zstandard

__all__ = ["raise_shortage"]

_NO_MEMORY: Final = "not enough memory"
"""How zstd says it."""


def raise_shortage(error: Exception) -> None:
    """Do nothing if ``error``, of a library that read bytes, says that the bytes are bad.

    Raises:
        MemoryError: It says that there was no memory to read them.
    """
    cause: BaseException | None = error
    while isinstance(cause, cbor2.CBORError):
        cause = cause.__cause__
    wants_memory = isinstance(cause, zstandard.ZstdError) and _NO_MEMORY in str(cause)
    if wants_memory or isinstance(cause, MemoryError):
        raise MemoryError("there is too little memory to read what is stored") from error
