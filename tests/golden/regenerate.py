"""Write the golden files anew: ``python -m tests.golden.regenerate``.

Only a change of the format may change them, and then they get a new name: what was written by an
earlier version must be read by every later one.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from blake3 import blake3

from cas.chunker import Chunker
from manifests import Repository, TreeParameters
from tests.golden import samples
from tests.manifests.classes import Point, Step, registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import portrait

__all__ = [
    "PARAMETERS",
    "STORE",
    "VALUES",
    "addresses",
    "build_store",
    "expected_of",
    "main",
    "vectors",
]

FOLDER: Final = Path(__file__).parent
VALUES: Final = FOLDER / "values.json"
STORE: Final = FOLDER / "store-format-1"
PARAMETERS: Final = TreeParameters(inline_entry=64, entry_target=32)
"""Those of the first stores, which had one limit and one target for lists and dicts."""


def addresses(parameters: TreeParameters) -> dict[str, str]:
    """Return the address of every sample, as a value and as the root of a state."""
    found = {}
    for name, value in {**samples.values(), **samples.trees()}.items():
        memory = Memory(registry())
        found[name] = str(memory.save(value, parameters=parameters))
        found[f"{name}, as a state"] = str(memory.save(value, state=True, parameters=parameters))
    return found


def vectors() -> dict[str, Any]:
    """Return everything that ``values.json`` holds."""
    payloads = {}
    for name, value in samples.values().items():
        memory = Memory(registry())
        root = memory.objects[memory.save(value, parameters=PARAMETERS)]
        payloads[name] = {"links": list(map(str, root.links)), "payload": root.payload.hex()}
    cuts = {}
    data = samples.chunked()
    for size in (len(data), 2 * PARAMETERS.long_text):
        sizes = [len(chunk) for chunk in Chunker(PARAMETERS.chunks(size)).cut(data)]
        cuts[f"chunked as if of {size} bytes"] = {
            "chunks": len(sizes),
            "sizes": blake3(repr(sizes).encode()).hexdigest(),
        }
    return {
        "parameters": TreeParameters().to_header(),
        "addresses": addresses(PARAMETERS),
        "addresses in new stores": addresses(TreeParameters()),
        "roots": payloads,
        "chunks": cuts,
    }


def ticking() -> Callable[[], dt.datetime]:
    """Return a clock that is one minute later each time it is asked."""
    now = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)

    def tick() -> dt.datetime:
        nonlocal now
        now += dt.timedelta(minutes=1)
        return now

    return tick


def build_store(home: Path) -> None:
    """Write the golden store: runs that grow, fork, share and are tagged."""
    with Repository.open(
        home, registry=registry(), clock=ticking(), parameters=PARAMETERS
    ) as repository:
        messages: list[Any] = []
        state: dict[str, Any] = {"goal": Step("survey"), "messages": messages, "notes": {}}
        for turn in range(12):
            messages.append({"role": "user", "content": f"question {turn} " * 5})
            messages.append({"role": "assistant", "content": f"answer {turn} " * 10})
            state["notes"][f"note {turn}"] = Point(turn, {"seen": (turn, None)})
            repository.commit(
                "first",
                state,
                node=f"node {turn % 3}",
                next_nodes=[f"node {(turn + 1) % 3}"],
                execution={"path": [f"node {index % 3}" for index in range(turn + 1)]},
                labels={"turn": str(turn)},
            )
        repository.commit("values", samples.values(), kind="final")
        repository.tag("before the fork", "first@5")
        repository.fork("first@5", "second")
        repository.commit("second", {"messages": messages[:6], "text": "long " * 4_000}, node="b")
        repository.commit("second", {"messages": messages[:7], "text": "long " * 4_001}, node="c")
        repository.tag("values", "values")


def expected_of(home: Path) -> dict[str, Any]:
    """Return what a store holds, for comparison: ids, fields and states of all checkpoints."""
    with Repository.open(home, create=False, registry=registry()) as repository:
        runs = {}
        for info in repository.runs():
            runs[info.name] = [
                {
                    "checkpoint": checkpoint.model_dump(mode="json", exclude={"key"}),
                    "state": written(portrait(repository.restore(checkpoint))),
                    "execution": repository.execution(checkpoint),
                    "address": _address(repository.restore(checkpoint)),
                }
                for checkpoint in reversed(repository.log(info.name))
            ]
        tags = {name: str(checkpoint.id) for name, checkpoint in repository.tags().items()}
    return {"runs": runs, "tags": tags}


def _address(state: Any) -> str:
    return str(Memory(registry()).save(state, state=True, parameters=PARAMETERS))


def written(described: Any) -> str:
    """Return a portrait as text that is the same on every version of Python and numpy."""
    if isinstance(described, type):
        return described.__qualname__
    if isinstance(described, np.dtype):
        return repr(described.str if described.names is None else described.descr)
    if isinstance(described, list | tuple):
        return f"[{' '.join(map(written, described))}]"
    return repr(described)


def write_store() -> None:
    """Replace the golden store by one written now, without what only a live store needs."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        build_store(home)
        expected = expected_of(home)
        shutil.rmtree(STORE, ignore_errors=True)
        shutil.copytree(
            home, STORE, ignore=shutil.ignore_patterns("ballast", "lock.mdb", "turnstile")
        )
    (STORE / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """Write all golden files."""
    VALUES.write_text(json.dumps(vectors(), indent=1, sort_keys=True) + "\n")
    write_store()


if __name__ == "__main__":
    main()
