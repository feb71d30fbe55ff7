"""LangGraph's checkpoints in a Hive store: ``HiveSaver``. Extra: ``hive-checkpoints[langgraph]``.

::

    from hive.adapters.langgraph import HiveSaver

    graph = builder.compile(checkpointer=HiveSaver())

``rebuilt_names`` tells ``Repository.forget`` which channels of a thread are delta channels.
"""

from __future__ import annotations

from hive.threads import rebuilt_names

try:
    from hive.adapters.langgraph.saver import HiveSaver
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("hive"):
        raise
    missing = error.name.partition(".")[0]
    raise ModuleNotFoundError(
        f"LangGraph is not installed ({missing}): pip install 'hive-checkpoints[langgraph]'",
        name=missing,
    ) from error

__all__ = ["HiveSaver", "rebuilt_names"]
