"""Hive in the ways it can be used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.peers.base import CheckpointName, Peer
from benchmarks.workloads import Step
from hive import CheckpointConfig, CheckpointManager
from manifests import Repository

__all__ = ["Hive", "HiveAsync", "HiveChanged", "HiveTrusted"]


class Hive(Peer):
    """Hive finds what changed."""

    name = "hive"
    names_changed: ClassVar[bool] = False
    trusts_identity: ClassVar[bool] = False

    def open(self) -> None:
        """Open or create the store."""
        self.repository = Repository.open(self.folder)

    def close(self) -> None:
        """Close the store."""
        self.repository.close()

    def save(self, step: Step) -> None:
        """Commit a checkpoint."""
        self.repository.commit(
            step.run,
            step.state,
            changed=step.changed if self.names_changed else None,
            trust_identity=self.trusts_identity,
        )

    def load(self, name: CheckpointName) -> Any:
        """Restore a checkpoint; every object is verified."""
        return self.repository.restore(name)

    def compact(self) -> bool:
        """Make the file as small as Hive can."""
        self.repository.compact()
        return True

    def forget(self, names: Sequence[CheckpointName]) -> bool:
        """Forget, free, and make the file small."""
        self.repository.forget(names)
        self.repository.gc()
        return self.compact()


class HiveChanged(Hive):
    """The caller names the top-level keys that may have changed."""

    name = "hive-changed"
    names_changed = True


class HiveTrusted(HiveChanged):
    """The caller also promises that an item which is the same object has not changed inside."""

    name = "hive-trusted"
    trusts_identity = True


class HiveAsync(Hive):
    """A background thread writes; ``save`` returns when the state is encoded."""

    name = "hive-async"

    def open(self) -> None:
        """Open or create the store, and the manager that writes in the background."""
        super().open()
        self._manager = CheckpointManager(self.repository, CheckpointConfig(durability="async"))

    def close(self) -> None:
        """Wait for the background thread and close the store."""
        self._manager.close()
        super().close()

    def save(self, step: Step) -> None:
        """Encode a checkpoint and hand it to the background thread."""
        self._manager.save(step.run, step.state)

    def flush(self) -> None:
        """Wait until everything is on disk."""
        self._manager.flush()
