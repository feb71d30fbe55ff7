"""Running agents: from a module or a description, with checkpoints, as a program or by hand.

``AgentRunner`` loads an agent and runs, resumes and lists its runs; ``hive run`` and
``hive resume`` are made of it.
"""

from __future__ import annotations

from hive.runner.agent import Agent
from hive.runner.execution import RunResult
from hive.runner.runner import AgentRun, AgentRunner
from hive.runner.waiting import Wait

__all__ = ["Agent", "AgentRun", "AgentRunner", "RunResult", "Wait"]
