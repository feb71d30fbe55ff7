"""One file per checkpoint, synced: pickle and CBOR."""

from __future__ import annotations

import os
import pickle
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import cbor2

from benchmarks.peers.base import CheckpointName, Peer
from benchmarks.peers.plain import from_plain, to_plain
from benchmarks.workloads import Step

__all__ = ["CborFiles", "PickleFiles"]


class _Files(Peer):
    copies: ClassVar[bool] = True

    def open(self) -> None:
        """Files need no opening."""

    def close(self) -> None:
        """Files need no closing."""

    def save(self, step: Step) -> None:
        """Write a file beside its place, sync it, rename it, sync the folder."""
        path = self._path((step.run, step.index))
        folder = path.parent
        folder.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        with open(temporary, "wb") as file:
            file.write(self.encode(step.state))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def load(self, name: CheckpointName) -> Any:
        """Read the file."""
        return self.decode(self._path(name).read_bytes())

    def forget(self, names: Sequence[CheckpointName]) -> bool:
        """Remove the files."""
        for name in names:
            self._path(name).unlink()
        return True

    @abstractmethod
    def encode(self, state: dict[str, Any]) -> bytes:
        """Return a state as bytes."""

    @abstractmethod
    def decode(self, data: bytes) -> Any:
        """Return the state that ``encode`` turned into bytes."""

    def _path(self, name: CheckpointName) -> Path:
        return self.folder / name[0] / f"{name[1]:08d}"


class PickleFiles(_Files):
    """``pickle.dumps`` of the whole state."""

    name = "pickle-files"

    def encode(self, state: dict[str, Any]) -> bytes:
        """Return a state as bytes."""
        return pickle.dumps(state, protocol=5)

    def decode(self, data: bytes) -> Any:
        """Return the state that ``encode`` turned into bytes."""
        return pickle.loads(data)


class CborFiles(_Files):
    """``cbor2.dumps`` of the whole state."""

    name = "cbor-files"

    def encode(self, state: dict[str, Any]) -> bytes:
        """Return a state as bytes."""
        return cbor2.dumps(to_plain(state))

    def decode(self, data: bytes) -> Any:
        """Return the state that ``encode`` turned into bytes."""
        return from_plain(cbor2.loads(data), self.workload.kinds)
