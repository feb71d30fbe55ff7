"""``python -m benchmarks.langgraph_saver``: HiveSaver beside LangGraph's savers, in a real graph.

A compiled graph of an agent that calls a tool once a turn, with a scripted model. Each saver runs
it in a process of its own. Printed are bytes on disk, and of the last fifth of the turns the median
of a put, of a put_writes, of reading the newest checkpoint, and of a whole turn: wall time, and
time on the processor, which others on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from hive.adapters.langgraph import HiveSaver

__all__ = ["KINDS", "Figures", "main", "measure"]

KINDS: Final = ("sqlite", "sqlite-delta", "hive", "hive-delta", "hive-trusted")
_CONFIG: Final[Any] = {"configurable": {"thread_id": "chat"}}
_WORDS: Final = (
    "agent answer block call cell chain check cost count data date delta draft edge entry event "
    "field file graph guide head index input item join key layer limit link list load map mark "
    "merge model name node order page part path plan point query range reply request result row "
    "rule run save scope search shape share sign slot space state step store table task text "
    "thread time token tool trace tree turn type unit value view wait word work write"
).split()


@dataclass(frozen=True, slots=True)
class Figures:
    """What one saver took. Times are medians in milliseconds: (wall, processor)."""

    kind: str
    turns: int
    disk_bytes: int
    put: tuple[float, float]
    writes: tuple[float, float]
    read: tuple[float, float]
    turn: tuple[float, float]


class _Timed:
    """Calls a method and notes how long each call took, and how long the processor.

    ``busy`` says whose time that is: this thread's, or that of the whole process.
    """

    def __init__(
        self, method: Callable[..., Any], busy: Callable[[], float] = time.thread_time
    ) -> None:
        self._method = method
        self._busy = busy
        self.taken: list[tuple[float, float]] = []

    def __call__(self, *args: Any, **options: Any) -> Any:
        wall, busy = time.perf_counter(), self._busy()
        result = self._method(*args, **options)
        self.taken.append((time.perf_counter() - wall, self._busy() - busy))
        return result

    def late(self) -> tuple[float, float]:
        """Return the medians of the last fifth."""
        last = self.taken[-max(5, len(self.taken) // 5) :]
        walls, busy = zip(*last, strict=True)
        return _milliseconds(walls), _milliseconds(busy)


def measure(kind: str, turns: int, folder: Path) -> Figures:
    """Run the graph for some turns on one saver in an empty folder."""
    with _saver(kind, folder) as saver:
        saver.put = put = _Timed(saver.put)
        saver.put_writes = writes = _Timed(saver.put_writes)
        graph = _graph(saver, random.Random(1), delta=kind.endswith("-delta"))
        dice = random.Random(2)
        invoke = _Timed(graph.invoke, time.process_time)  # savers are called in threads
        for _ in range(turns):
            invoke({"messages": [HumanMessage(_text(dice, 25))]}, _CONFIG, durability="sync")
        read = _Timed(graph.get_state)
        for _ in range(7):
            assert len(read(_CONFIG).values["messages"]) == 4 * turns
    size = sum(
        file.stat().st_blocks * 512
        for file in folder.rglob("*")
        if file.is_file() and file.name != "ballast"
    )
    return Figures(kind, turns, size, put.late(), writes.late(), read.late(), invoke.late())


@contextmanager
def _saver(kind: str, folder: Path) -> Iterator[Any]:
    if kind.startswith("hive"):
        with HiveSaver(folder, trust_identity=kind == "hive-trusted") as saver:
            yield saver
        return
    connection = sqlite3.connect(folder / "checkpoints.sqlite", check_same_thread=False)
    try:
        yield SqliteSaver(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _graph(saver: Any, dice: random.Random, *, delta: bool) -> Any:
    channel: Any = DeltaChannel(_added, snapshot_frequency=100) if delta else add_messages
    # Annotations are texts in this module, which LangGraph could not evaluate.
    state: Any = TypedDict("state", {"messages": Annotated[list[Any], channel]})

    def agent(values: Any) -> Any:
        if isinstance(values["messages"][-1], HumanMessage):
            call = {"name": "search", "args": {"q": _text(dice, 5)}, "id": f"{dice.random()}"}
            return {"messages": [AIMessage(_text(dice, 10), tool_calls=[call])]}
        return {"messages": [AIMessage(_text(dice, 60))]}

    def tools(values: Any) -> Any:
        call = values["messages"][-1].tool_calls[0]
        return {"messages": [ToolMessage(_text(dice, 150), tool_call_id=call["id"])]}

    def after(values: Any) -> str:
        return "tools" if values["messages"][-1].tool_calls else END

    builder: Any = StateGraph(state)
    builder.add_node("agent", agent)
    builder.add_node("tools", tools)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", after, ["tools", END])
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=saver)


def _added(state: list[Any], writes: Sequence[Any]) -> Any:
    for write in writes:
        state = add_messages(state, write)  # type: ignore[assignment]
    return state


def _text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choice(_WORDS) for _ in range(words))


def _milliseconds(seconds: Sequence[float]) -> float:
    return round(1_000 * statistics.median(seconds), 3)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--kind", choices=KINDS, help="measure this one and print it as JSON")
    parser.add_argument("--folder", type=Path, help="where to put the stores; none is kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.kind:
            print(json.dumps(asdict(measure(options.kind, options.turns, Path(folder)))))
            return
    found = [_apart(kind, options.turns, options.folder) for kind in KINDS]
    print(f"{options.turns} turns, 5 checkpoints each; ms: wall (processor)")
    heads = "".join(f"{head:>18}" for head in ("put", "put_writes", "read newest", "whole turn"))
    print(f"{'saver':14}{'bytes':>12}{heads}")
    for row in found:
        times = (row.put, row.writes, row.read, row.turn)
        shown = "".join(f"{f'{wall:.2f} ({busy:.2f})':>18}" for wall, busy in times)
        print(f"{row.kind:14}{row.disk_bytes:12,}{shown}")


def _apart(kind: str, turns: int, folder: Path | None) -> Figures:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.langgraph_saver", "--kind", kind]
    command += ["--turns", str(turns)]
    if folder is not None:
        command += ["--folder", str(folder)]
    output = subprocess.check_output(command, env=os.environ, text=True)
    fields: dict[str, Any] = json.loads(output)
    for name in ("put", "writes", "read", "turn"):
        fields[name] = tuple(fields[name])
    return Figures(**fields)


if __name__ == "__main__":
    main()
