"""Small dicts of plain values, which are encoded at once: most of what a message holds."""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof
from typing import Any, Final

import cbor2

from manifests.together import ATOMS

__all__ = ["are_texts", "flat_dict"]

_TEXT: Final = frozenset((str,))


def are_texts(keys: Iterable[Any]) -> bool:
    """Whether all keys are exactly texts."""
    return _TEXT.issuperset(map(type, keys))


def flat_dict(items: dict[str, Any], most_bytes: int) -> bytes | None:
    """Encode a dict of plain values to the bytes that its values would make one by one.

    Those would take three times as long. None if a value is not plain or cannot be encoded, or if
    it takes more than ``most_bytes``.
    """
    values = items.values()
    if not ATOMS.issuperset(map(type, values)):
        return None
    if sum(map(getsizeof, values)) > 4 * most_bytes:
        return None  # too large in any case, and perhaps too large to copy for nothing
    try:
        data = cbor2.dumps(items)
    except UnicodeEncodeError:
        return None  # whoever encodes the values one by one can say which
    return data if len(data) <= most_bytes else None
