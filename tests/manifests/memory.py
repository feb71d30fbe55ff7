"""Values in a dictionary of objects, as a store would keep them, and how many are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from cas.digest import Digest
from cas.errors import HiveError
from cas.objects import Object
from manifests.decoder import Decoder
from manifests.encoder import MAX_DEPTH, Encoder
from manifests.forms import Form, Forms, LinkForm
from manifests.parameters import TreeParameters
from manifests.paths import Redaction
from manifests.pieces import PieceSink
from manifests.redacting import RedactingEncoder
from manifests.registry import Registry
from manifests.together import MadeValue
from tests.manifests.sameness import same

__all__ = ["Memory", "root_of"]


@dataclass
class Gathered:
    """What is below some objects, children before parents."""

    leaves: dict[Digest, bytes] = field(default_factory=dict)
    parents: dict[Digest, tuple[Sequence[Digest], bytes]] = field(default_factory=dict)
    made: dict[Digest, MadeValue] = field(default_factory=dict)


class Memory:
    """Objects by digest. ``loads`` counts the objects handed out."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry or Registry()
        self.objects: dict[Digest, Object] = {}
        self.loads = 0

    def save(
        self,
        value: Any,
        *,
        state: bool = False,
        redaction: Redaction | None = None,
        parameters: TreeParameters | None = None,
    ) -> Digest:
        """Encode a value, or a state, and keep its objects. Returns the root's address."""
        sink = PieceSink()
        encoder = Encoder(self.registry, parameters or TreeParameters(), sink)
        if redaction is not None:
            encoder = RedactingEncoder(
                self.registry, parameters or TreeParameters(), sink, redaction
            )
        link = sink.seal(encoder.state(value) if state else encoder.value(value))
        self.objects.update(sink.objects)
        (digest,) = link.parts
        assert isinstance(digest, Digest)
        return digest

    def new_objects(self, value: Any, *, state: bool = False) -> list[Object]:
        """Save a value and return the objects that were not there before."""
        before = set(self.objects)
        self.save(value, state=state)
        return [item for digest, item in self.objects.items() if digest not in before]

    def load(self, links: Sequence[Digest]) -> list[Object]:
        """Return the objects of some links; the loader of decoders and forms."""
        self.loads += len(links)
        return [self.objects[link] for link in links]

    def put(self, payload: bytes, *links: Digest) -> Digest:
        """Keep an object made by hand and return its address."""
        item = Object(links, payload)
        self.objects[item.address()] = item
        return item.address()

    def gather(self, links: Sequence[Digest]) -> Gathered | None:
        """Return everything below some links; the gatherer of decoders and forms."""
        below = Gathered()
        path = [(link, False) for link in links]
        while path:
            link, is_done = path.pop()
            item = self.objects.get(link)
            if item is None:
                return None
            if not item.links:
                below.leaves[link] = item.payload
            elif is_done:
                below.parents.setdefault(link, (item.links, item.payload))
            elif link not in below.parents:
                path.append((link, True))
                path.extend((child, False) for child in item.links)
        return below

    def read(self, digest: Digest) -> Any:
        """Decode a value, step by step and all together, with the same outcome."""
        try:
            value = self.read_in_steps(digest)
        except HiveError as error:
            with pytest.raises(type(error)):
                self.read_together(digest)
            raise
        assert same(self.read_together(digest), value)
        return value

    def read_in_steps(self, digest: Digest) -> Any:
        """Decode a value one object after the other."""
        return Decoder(self.registry, self.load).value(self.objects[digest])

    def read_together(self, digest: Digest) -> Any:
        """Decode a value and everything below it at once."""
        decoder = Decoder(self.registry, self.load, self.gather)
        value, depth = decoder.linked(digest)
        if depth > MAX_DEPTH:
            decoder.check_depth(value)
        return value

    def read_by_link(self, digest: Digest) -> Any:
        """Decode a value as a restore does, from the link to it."""
        return self.forms().value(LinkForm(digest))

    def read_by_forms(self, digest: Digest) -> Any:
        """Decode a value from the form of its root."""
        forms = self.forms()
        return forms.value(forms.open(self.objects[digest]))

    def forms(self) -> Forms:
        """Return a reader of forms over these objects."""
        return Forms(self.registry, self.load)

    def open(self, digest: Digest) -> Form:
        """Return the form of one object."""
        return self.forms().open(self.objects[digest])


def root_of(value: Any, registry: Registry | None = None, *, state: bool = False) -> Digest:
    """Return the address of a value."""
    return Memory(registry).save(value, state=state)
