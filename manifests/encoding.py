"""How one repository encodes: the classes it knows, its sizes of trees, its redaction."""

from __future__ import annotations

from dataclasses import dataclass

from manifests.encoder import Encoder
from manifests.incremental import Memory
from manifests.parameters import TreeParameters
from manifests.paths import Redaction
from manifests.pieces import PieceSink
from manifests.redacting import RedactingEncoder
from manifests.registry import Registry

__all__ = ["Encoding"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the encoders of a repository have in common."""

    registry: Registry
    parameters: TreeParameters
    redaction: Redaction | None

    def of_state(self, sink: PieceSink, memory: Memory | None = None) -> Encoder:
        """Return an encoder of a state or of fields of one. One that redacts has no memory."""
        return self.redacting(sink) or Encoder(self.registry, self.parameters, sink, memory=memory)

    def redacting(self, sink: PieceSink, root: str = "state") -> RedactingEncoder | None:
        """Return an encoder that redacts, if there are rules; errors call the value ``root``."""
        if self.redaction is None:
            return None
        return RedactingEncoder(self.registry, self.parameters, sink, self.redaction, root=root)

    def beside_state(self, sink: PieceSink, root: str, memory: Memory | None = None) -> Encoder:
        """Return an encoder of what a redaction is not for; errors call the value ``root``."""
        return Encoder(self.registry, self.parameters, sink, root=root, memory=memory)
