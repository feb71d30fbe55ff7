"""What to do about values that cannot be stored or read as they are, and how errors name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol

from hive.adapters.langgraph.codecs import Opaque
from hive.adapters.langgraph.places import Place
from hive.errors import CorruptionError, HiveError, InvalidInputError, LimitError, NotFoundError
from manifests import PendingWrite, Snapshot

__all__ = ["enveloped", "naming", "naming_channel", "pending_of", "values_of"]

K = TypeVar("K")
T = TypeVar("T")


def enveloped(
    store: Callable[[dict[K, Any]], T],
    values: Mapping[K, Any],
    serializer: SerializerProtocol,
    *,
    is_discreet: bool = False,
) -> T:
    """Store values; those that cannot be stored as trees, as bytes of LangGraph's serializer.

    It takes what a tree of Hive does not: lone surrogates, which it replaces, and nesting of more
    than 100 levels. If it is to be discreet, since no rule finds anything in such bytes, what the
    serializer makes of them again is stored as a tree, and nested too deep nothing is stored.

    Raises:
        InvalidInputError: The serializer cannot take one of them either.
    """
    try:
        return store(dict(values))
    except (InvalidInputError, LimitError) as refusal:
        if refusal.path is None:
            raise
        wrapped: dict[K, Any] = {}
        for name, value in values.items():
            if _is_plain(value):
                wrapped[name] = value
                continue
            opaque, again = _wrapped(value, serializer, refusal)
            wrapped[name] = again if is_discreet else opaque
        return store(wrapped)


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii()
    return value is None or isinstance(value, bool | int | float | bytes | Opaque)


def _wrapped(value: Any, serializer: SerializerProtocol, refusal: HiveError) -> tuple[Opaque, Any]:
    """Return a value as the serializer writes it, and that read again: some it cannot read."""
    try:
        kind, data = serializer.dumps_typed(value)
        opaque = Opaque(kind, bytes(data))
        return opaque, serializer.loads_typed((opaque.kind, opaque.data))
    except Exception:
        raise refusal from None


@contextmanager
def naming(place: Place, checkpoint_id: str) -> Iterator[None]:
    """Let errors say which thread, namespace and checkpoint they are about."""
    try:
        yield
    except NotFoundError:
        raise
    except HiveError as error:
        where = f"thread {place.thread!r}"
        if place.namespace:
            where += f", namespace {place.namespace!r}"
        error.args = (f"{where}, checkpoint {checkpoint_id}: {error}",)
        raise


def values_of(snapshot: Snapshot) -> Any:
    """Return the channel values of a checkpoint; an error says which of them it is about."""
    try:
        return snapshot.state()
    except (InvalidInputError, LimitError, CorruptionError):
        for name in snapshot.names():
            with naming_channel(name):
                snapshot.fields([name])
        raise


def pending_of(snapshot: Snapshot) -> list[PendingWrite]:
    """Return the pending writes of a checkpoint; an error says which channel it is about."""
    try:
        return snapshot.pending()
    except (InvalidInputError, LimitError, CorruptionError):
        for name in snapshot.pending_names():
            with naming_channel(name):
                snapshot.pending([name])
        raise


@contextmanager
def naming_channel(name: Any) -> Iterator[None]:
    """Let errors say which channel they are about."""
    try:
        yield
    except (InvalidInputError, LimitError, CorruptionError) as error:
        error.args = (f"channel {name!r}: {error}",)
        raise
