"""Where a checkpoint of LangGraph is: a thread and a namespace, which together are a run of Hive.

The root namespace of a thread is the run of the same name, so that ``hive log THREAD`` works. A
subgraph's namespace is the run ``THREAD/NAMESPACE#LENGTH``: the length of the thread's name says
where it ends, so ``a/b`` with ``c`` is never ``a`` with ``b/c``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from langchain_core.runnables import RunnableConfig

from hive.errors import InvalidInputError
from hive.text import kind_of
from manifests.names import check_name

__all__ = ["Place", "checkpoint_id_of", "prefix_of", "thread_of"]

_COMPOSED: Final = re.compile(r".*#(\d+)", re.DOTALL)
_EXAMPLE: Final = '{"configurable": {"thread_id": "..."}}'


@dataclass(frozen=True, slots=True)
class Place:
    """A thread and a namespace of it."""

    thread: str
    namespace: str = ""

    @classmethod
    def of(cls, config: RunnableConfig) -> Self:
        """Return the place a config names.

        Raises:
            InvalidInputError: It names no thread, or is no config.
        """
        configurable = _configurable(config)
        if configurable.get("thread_id") is None:
            raise InvalidInputError(f"the config names no thread: pass {_EXAMPLE}")
        namespace = configurable.get("checkpoint_ns") or ""
        if not isinstance(namespace, str):
            raise InvalidInputError(f"checkpoint_ns is a text, not {kind_of(namespace)}")
        return cls(thread_of(configurable["thread_id"]), namespace)

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
        run = f"{self.thread}/{self.namespace}#{len(self.thread)}"
        check_name(run, "thread_id with its checkpoint_ns")
        return run

    def config(self, checkpoint_id: str) -> RunnableConfig:
        """Return the config of a checkpoint there."""
        return {
            "configurable": {
                "thread_id": self.thread,
                "checkpoint_ns": self.namespace,
                "checkpoint_id": checkpoint_id,
            }
        }


def thread_of(thread_id: object) -> str:
    """Return the name of a thread, which may be a number or a UUID.

    Raises:
        InvalidInputError: It is None.
    """
    # It becomes the text "None" elsewhere: all who forgot an id then share one conversation.
    if thread_id is None:
        raise InvalidInputError("a thread_id is a text, not None")
    return str(thread_id)


def checkpoint_id_of(config: RunnableConfig) -> str | None:
    """Return the id of the checkpoint that a config names; an empty one names none.

    Raises:
        InvalidInputError: It is no text, or that is no config.
    """
    found = _configurable(config).get("checkpoint_id") or None
    if found is not None and not isinstance(found, str):
        raise InvalidInputError(f"checkpoint_id is a text, not {kind_of(found)}")
    return found


def _configurable(config: object) -> Mapping[str, Any]:
    found = config.get("configurable", {}) if isinstance(config, Mapping) else config
    if isinstance(config, Mapping) and isinstance(found, Mapping):
        return found
    what = f"with {kind_of(found)} in it" if isinstance(config, Mapping) else kind_of(config)
    raise InvalidInputError(f"a config is a dict such as {_EXAMPLE}, not {what}")


def prefix_of(thread: str) -> tuple[str, str]:
    """Return the run of a thread's root, and what the names of its other runs begin with."""
    return Place(thread).run, f"{thread}/"
