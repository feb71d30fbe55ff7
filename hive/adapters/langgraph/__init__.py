"""LangGraph's checkpoints in a Hive store: ``HiveSaver``. Extra: ``hive-checkpoints[langgraph]``.

::

    from hive.adapters.langgraph import HiveSaver

    graph = builder.compile(checkpointer=HiveSaver())
"""

from __future__ import annotations

from hive.adapters.langgraph.saver import HiveSaver

__all__ = ["HiveSaver"]
