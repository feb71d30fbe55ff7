"""What a redaction leaves of values, as values again: to compare, or to store elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from manifests.decoder import Decoder, StoredObject
from manifests.encoding import Encoding
from manifests.pieces import PieceSink
from manifests.registry import Registry

__all__ = ["redacted_fields"]

_ATOMS: Final = frozenset((type(None), bool, int, float, str, bytes))


def redacted_fields(
    encoding: Encoding, fields: Mapping[str, Any], registry: Registry
) -> Mapping[str, Any]:
    """Return fields of a state as they are stored, made of these classes.

    A field of which nothing is replaced is the same object; without any, ``fields`` itself is
    returned.

    Raises:
        InvalidInputError: A value cannot be stored, or not be made again.
        LimitError: It is too deep or too large.
    """
    redaction = encoding.redaction
    if redaction is None:
        return fields
    changed = {}
    for name, value in fields.items():
        if type(value) in _ATOMS and not redaction.matches([name]):
            continue
        sink = PieceSink()
        encoder = encoding.redacting(sink)
        assert encoder is not None
        piece = encoder.field(name, value)
        if encoder.replaced:
            (root,) = sink.seal(piece).parts
            changed[name] = _read(sink, root, registry)
    return {**fields, **changed} if changed else fields


def _read(sink: PieceSink, root: Any, registry: Registry) -> Any:
    def load(links: Sequence[Any]) -> Sequence[StoredObject]:
        return [sink.objects[link] for link in links]

    return Decoder(registry, load).value(sink.objects[root])
