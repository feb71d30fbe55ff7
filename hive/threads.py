"""How a thread of LangGraph stands, told from what the store holds; LangGraph is not needed.

LangGraph notes at no checkpoint that a thread is done or waits. It can be told all the same: a task
that is due is one whose trigger has a value, and what a task met while it ran is pending beside the
checkpoint. That holds for graphs of the graph and of the functional API, whose channels have these
names since version 4 of LangGraph's checkpoints (``langgraph.pregel._algo`` finds the tasks due).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from manifests import Checkpoint, Outline, PendingWrite, Repository

__all__ = [
    "DELTA_COUNTERS",
    "Question",
    "delta_channels_of",
    "failure_of_thread",
    "is_record_of_thread",
    "is_thread",
    "questions_of",
    "rebuilt_names",
    "standing_of_thread",
]

ThreadStanding = Literal["done", "failed", "paused", "unfinished"]

_KINDS: Final = frozenset(("input", "loop", "update", "fork"))
_INTERRUPT: Final = "__interrupt__"
_ERROR: Final = "__error__"
_INPUT: Final = "__start__"
_TASKS: Final = "__pregel_tasks"
_BRANCH: Final = "branch:"
_JOIN: Final = "join:"
DELTA_COUNTERS: Final = "counters_since_delta_snapshot"
"""The metadata in which LangGraph counts what each delta channel was given since its snapshot."""
_LEAST_VERSION: Final = 4
_MOST_CHANNELS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Question:
    """What an interrupt asks, and the node that asks it."""

    node: str
    value: Any


def is_thread(head: Checkpoint) -> bool:
    """Whether LangGraph's saver made a checkpoint."""
    return head.key is not None and head.graph is None and head.kind in _KINDS


def standing_of_thread(repository: Repository, head: Checkpoint) -> ThreadStanding:
    """Say how the thread with that head stands.

    ``failed`` if a task of its next step raised an error the last time, ``paused`` if one asks
    something, ``done`` if no task is due. Whether a program goes on with it meanwhile is not known;
    ``unfinished`` is everything else.
    """
    names = {write.name for write in repository.pending(head.run, head.sequence)}
    if _ERROR in names:
        return "failed"
    if _INTERRUPT in names:
        return "paused"
    return "done" if _is_done(repository, head) else "unfinished"


def questions_of(repository: Repository, head: Checkpoint) -> list[Question]:
    """Return what the interrupts of a thread ask, in the order of its tasks."""
    return [
        Question(_node_of(write), value)
        for write in repository.pending(head.run, head.sequence)
        if write.name == _INTERRUPT
        for value in _asked(write.value)
    ]


def failure_of_thread(repository: Repository, head: Checkpoint) -> str:
    """Return the error that a task of a thread's next step raised; else an empty text."""
    for write in repository.pending(head.run, head.sequence):
        if write.name == _ERROR:
            return f"{_node_of(write)}: {write.value}"
    return ""


def delta_channels_of(repository: Repository, checkpoint: Checkpoint) -> list[str]:
    """Return the channels of a thread that have a value which is not in the checkpoint.

    LangGraph makes it of what earlier steps wrote, with a function that only the graph has. Of what
    is no thread's, there are none.
    """
    if not is_thread(checkpoint):
        return []
    record = repository.execution(checkpoint)
    counted = rebuilt_names(record)
    if not counted:
        return []
    channels = record["names"][0]
    held = {part.step for part in repository.outline(checkpoint, stop=_MOST_CHANNELS).parts}
    return [name for name in counted if name in channels and name not in held]


def rebuilt_names(execution: Mapping[str, Any]) -> Collection[str] | None:
    """Return the delta channels that a checkpoint counts, given its execution record.

    Those of them that its state has not are rebuilt from its ancestors. None if it cannot be told:
    another framework's record, or none of the shape that the saver gives it. This is what
    ``Repository.forget(..., rebuilt=rebuilt_names)`` takes.
    """
    if not is_record_of_thread(execution):
        return None
    keys, values = execution["names"][2], execution["metadata"]
    counted = dict(zip(keys, values, strict=True)).get(DELTA_COUNTERS, {})
    return counted.keys() if isinstance(counted, dict) else None


def is_record_of_thread(execution: Mapping[str, Any]) -> bool:
    """Whether an execution record has the shape that LangGraph's saver gives it."""
    match execution.get("names"):
        case [list(channels), list(nodes), list(keys)]:
            parts = [execution.get(name) for name in ("versions", "seen", "metadata")]
            return list(map(_length, parts)) == [len(channels), len(nodes), len(keys)]
    return False


def _length(part: object) -> int:
    return len(part) if isinstance(part, Sequence) else -1


def _is_done(repository: Repository, head: Checkpoint) -> bool:
    state = repository.outline(head, stop=_MOST_CHANNELS)
    if len(state.parts) != state.length:
        return False
    if any(_is_due(part.step, part.outline) for part in state.parts):
        return False
    record = repository.execution(head)
    match record.get("names"), record.get("more"):
        case [[*channels], *_], {"v": int(version)} if version >= _LEAST_VERSION:
            # Without it neither API made this graph, and its triggers may have any names.
            return _INPUT in channels
    return False


def _is_due(channel: Any, value: Outline) -> bool:
    if not isinstance(channel, str):
        return False
    # Of a join the names of those that came are kept, of the tasks of Send those that are due.
    if channel == _TASKS or channel.startswith(_JOIN):
        return bool(value.length)
    return channel == _INPUT or channel.startswith(_BRANCH)


def _node_of(write: PendingWrite) -> str:
    """Return the node of a task, from a path such as ``~__pregel_pull, NODE``."""
    return write.path.partition(", ")[2] or write.task


def _asked(value: Any) -> Iterator[Any]:
    from manifests import UnregisteredValue

    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, UnregisteredValue):
            yield each.fields.get("value") if isinstance(each.fields, dict) else each
        else:
            yield getattr(each, "value", each)
