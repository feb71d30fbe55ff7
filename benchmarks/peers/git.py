"""git, through pygit2: a commit per checkpoint, a blob per item, then ``git gc``."""

from __future__ import annotations

import os
import shutil
import subprocess
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import cbor2
import numpy as np
import pygit2
from pygit2.enums import FileMode

from benchmarks.peers.base import CheckpointName, Peer
from benchmarks.workloads import Step, Workload

__all__ = ["Git"]

_ITEMS_PER_FOLDER = 100
_FOLDERS_PER_DICT = 256
_WHO = pygit2.Signature("benchmark", "benchmark@localhost", 1_700_000_000, 0)


class Git(Peer):
    """A folder per list and dict, split into folders of a hundred files; only changes are written.

    git does not sync its objects, so its saves are not durable. Its history is a chain of commits,
    so it cannot drop old checkpoints and keep later ones.
    """

    name = "git"
    once: ClassVar[bool] = True

    def __init__(self, folder: Path, workload: Workload) -> None:
        self._commits: dict[CheckpointName, pygit2.Oid] = {}
        self._trees: dict[str, pygit2.Oid] = {}
        self._lengths: dict[tuple[str, str], int] = {}
        super().__init__(folder, workload)

    def open(self) -> None:
        """Open or create the repository."""
        if not (self.folder / "HEAD").exists():
            pygit2.init_repository(self.folder, bare=True)
        self._repository = pygit2.Repository(str(self.folder))

    def close(self) -> None:
        """Let go of the repository."""
        self._repository.free()

    def save(self, step: Step) -> None:
        """Write the blobs that are new, the trees above them and a commit."""
        root = self._builder(self._trees.get(step.run))
        for key in step.turn.writes:
            kind = self.workload.kinds[key]
            if kind == "append":
                length = self._lengths.get((step.run, key), 0)
                items = step.turn.writes[key]
                self._lengths[step.run, key] = length + len(items)
                entries = [
                    (_folder_of_index(index), f"{index:08d}", item)
                    for index, item in enumerate(items, length)
                ]
                self._insert(root, f"{key}.list", entries)
            elif kind == "merge":
                entries = [
                    (_folder_of_key(name), quote(name, safe=""), value)
                    for name, value in step.turn.writes[key].items()
                ]
                self._insert(root, f"{key}.dict", entries)
            else:
                self._write_blob(root, f"{key}.value", step.state[key])
        self._trees[step.run] = tree = root.write()
        parents = [self._commits[step.run, step.index - 1]] if step.index > 1 else []
        self._commits[step.run, step.index] = self._repository.create_commit(
            f"refs/heads/{step.run}", _WHO, _WHO, f"step {step.index}", tree, parents
        )

    def load(self, name: CheckpointName) -> Any:
        """Read all blobs of a commit's tree."""
        commit = self._repository[self._commits[name]]
        state: dict[str, Any] = {}
        for entry in commit.peel(pygit2.Tree):
            key, _, form = str(entry.name).rpartition(".")
            if form == "list":
                state[key] = [value for _, value in _files(entry)]
            elif form == "dict":
                state[key] = {unquote(file): value for file, value in _files(entry)}
            else:
                state[key] = _value(entry)
        return state

    def compact(self) -> bool:
        """Pack everything, with delta compression."""
        git = shutil.which("git")
        if git is None:
            return False
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        self.close()
        command = [git, "gc", "--quiet", "--prune=now"]
        subprocess.run(command, cwd=self.folder, env=environment, check=True)
        self.open()
        return True

    def _insert(self, root: Any, folder: str, entries: Iterable[tuple[str, str, Any]]) -> None:
        """Put values into files of sub-folders of a folder."""
        outer = self._builder(_entry_id(root, folder))
        inner: dict[str, Any] = {}
        for part, file, value in entries:
            if part not in inner:
                inner[part] = self._builder(_entry_id(outer, part))
            self._write_blob(inner[part], file, value)
        for part, builder in inner.items():
            outer.insert(part, builder.write(), FileMode.TREE)
        root.insert(folder, outer.write(), FileMode.TREE)

    def _builder(self, tree: pygit2.Oid | None) -> Any:
        if tree is None:
            return self._repository.TreeBuilder()
        return self._repository.TreeBuilder(self._repository[tree].peel(pygit2.Tree))

    def _write_blob(self, builder: Any, file: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            file, data = f"{file.removesuffix('.value')}.array", value.tobytes()
        else:
            data = cbor2.dumps(value)
        builder.insert(file, self._repository.create_blob(data), FileMode.BLOB)


def _folder_of_index(index: int) -> str:
    return f"{index // _ITEMS_PER_FOLDER:06d}"


def _folder_of_key(key: str) -> str:
    return f"{zlib.crc32(key.encode()) % _FOLDERS_PER_DICT:02x}"


def _entry_id(builder: Any, name: str) -> pygit2.Oid | None:
    entry = builder.get(name)
    return None if entry is None else entry.id


def _files(folder: Any) -> Iterable[tuple[str, Any]]:
    for part in folder:
        for file in part:
            yield file.name, _value(file)


def _value(blob: Any) -> Any:
    if blob.name.endswith(".array"):
        return np.frombuffer(blob.data, dtype=np.float32)
    return cbor2.loads(blob.data)
