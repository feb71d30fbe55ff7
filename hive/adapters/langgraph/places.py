"""Where a checkpoint of LangGraph is: a thread and a namespace, which together are a run of Hive.

The root namespace of a thread is the run of the same name, so that ``hive log THREAD`` works. A
subgraph's namespace is the run ``THREAD/NAMESPACE#LENGTH``: the length of the thread's name says
where it ends, so ``a/b`` with ``c`` is never ``a`` with ``b/c``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import get_checkpoint_id

from hive.errors import InvalidInputError
from manifests.names import check_name

__all__ = ["Place", "checkpoint_id_of", "prefix_of"]

_COMPOSED: Final = re.compile(r".*#(\d+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """A thread and a namespace of it."""

    thread: str
    namespace: str = ""

    @classmethod
    def of(cls, config: RunnableConfig) -> Self:
        """Return the place a config names.

        Raises:
            InvalidInputError: It names no thread.
        """
        configurable = config.get("configurable", {})
        # None becomes the text "None" elsewhere: all who forgot an id then share one conversation.
        if configurable.get("thread_id") is None:
            raise InvalidInputError(
                'the config names no thread: pass {"configurable": {"thread_id": "..."}}'
            )
        return cls(str(configurable["thread_id"]), configurable.get("checkpoint_ns") or "")

    @classmethod
    def of_run(cls, run: str) -> Self:
        """Return the place that a run is."""
        match = _COMPOSED.fullmatch(run)
        if match is None:
            return cls(run)
        length = int(match[1])
        end = match.start(1) - 1
        if length >= end or run[length] != "/":
            return cls(run)
        return cls(run[:length], run[length + 1 : end])

    @property
    def run(self) -> str:
        """The run that it is.

        Raises:
            InvalidInputError: A run cannot have the name of the thread.
        """
        if self.thread:
            check_name(self.thread, "thread_id")
        plain = self.thread and _COMPOSED.fullmatch(self.thread) is None
        if plain and not self.namespace:
            return self.thread
        return f"{self.thread}/{self.namespace}#{len(self.thread)}"

    def config(self, checkpoint_id: str) -> RunnableConfig:
        """Return the config of a checkpoint there."""
        return {
            "configurable": {
                "thread_id": self.thread,
                "checkpoint_ns": self.namespace,
                "checkpoint_id": checkpoint_id,
            }
        }


def checkpoint_id_of(config: RunnableConfig) -> str | None:
    """Return the id of the checkpoint that a config names; an empty one names none."""
    return get_checkpoint_id(config) or None


def prefix_of(thread: str) -> tuple[str, str]:
    """Return the run of a thread's root, and what the names of its other runs begin with."""
    return Place(thread).run, f"{thread}/"
