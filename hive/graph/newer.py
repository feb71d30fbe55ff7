"""Refusing to go on with values that a newer program wrote.

Restoring such a value loses nothing: it comes back as an ``UnregisteredValue`` that is stored as
it was. But a node that expects an object of its class cannot work with that, and would fail
half-way or, worse, not notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hive import errors

if TYPE_CHECKING:
    from manifests import Registry

__all__ = ["refuse_newer"]


def refuse_newer(value: Any, registry: Registry, where: str) -> None:
    """Refuse a value in which a registered class has a newer version than the registered one.

    Args:
        value: A state or an execution record.
        registry: The classes that the program knows. Names that it does not know are no problem:
            what is not known is not expected either.
        where: Names the checkpoint.

    Raises:
        UnsupportedFormatError: There is one; the message names it.
    """
    if not registry.names():
        return
    for found in _unregistered(value):
        known = registry.version_of(found.name)
        if known is not None and found.version > known:
            raise errors.UnsupportedFormatError(
                f"{where} holds a {found.name!r} of version {found.version}, and this program "
                f"registers version {known}: use the newer program, or fork the run before it "
                "was moved on"
            )


def _unregistered(value: Any) -> Iterator[Any]:
    from manifests import UnregisteredValue

    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, UnregisteredValue):
            yield part
            waiting.append(part.fields)
        elif isinstance(part, Mapping):
            waiting += part.keys()
            waiting += part.values()
        elif isinstance(part, list | tuple | set | frozenset):
            waiting += part
