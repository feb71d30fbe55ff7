"""Load an agent from what a person named: a module, a Python file, a description or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from cas.errors import HiveError, InvalidInputError
from hive.graph.goal import Goal
from hive.graph.spec import GraphSpec
from hive.plan.plan import Plan
from hive.runner.agent import Agent
from hive.runner.description import ENDINGS, read_description
from hive.runner.targets import explained, import_place, look_up
from hive.text import kind_of

__all__ = ["load_agent"]

FILES: Final = ("agent.json", "agent.yaml", "agent.yml", "agent.py")
NAMES: Final = ("agent", "graph", "plan")
_KINDS: Final = (
    "an Agent, a GraphSpec, a Plan, a tuple of one of those and its Goal, or a function without "
    "arguments that returns one"
)


def load_agent(target: str, folder: Path) -> Agent:
    """Return the agent that a person named.

    Args:
        target: ``package.module:name``, ``path/to/file.py:name``, the path of a description
            (``.json``, ``.yaml``, ``.yml``), or of a folder with an ``agent`` file. Without
            ``:name``, a module or Python file is searched for ``agent``, ``graph`` or ``plan``.
        folder: Where relative files lie and where imports look first.

    Raises:
        InvalidInputError: The target is malformed, cannot be imported or is no agent.
    """
    path = folder / target
    if target and path.is_dir():
        found = [path / name for name in FILES if (path / name).is_file()]
        if len(found) != 1:
            has = "none" if not found else " and ".join(file.name for file in found)
            raise InvalidInputError(
                f"the folder {str(path)!r} should have one of {', '.join(FILES)}, and has {has}"
            )
        target, path = str(found[0]), found[0]
    if target.endswith(ENDINGS):
        return read_description(path)
    place, colon, name = target.rpartition(":")
    if colon and place and name:
        return _agent(look_up(target, folder), target)
    if not target.endswith(".py") and not all(map(str.isidentifier, target.split("."))):
        raise InvalidInputError(
            f"{target!r} does not name an agent; write MODULE:GRAPH or FILE.py:GRAPH, for example "
            f"survey.py:graph, or a description that ends in {', '.join(ENDINGS)}"
        )
    module = import_place(target, folder)
    for name in NAMES:
        if hasattr(module, name):
            value = getattr(module, name)
            goal = getattr(module, "goal", None)
            if isinstance(value, GraphSpec | Plan) and isinstance(goal, Goal):
                value = value, goal
            return _agent(value, f"{target}:{name}")
    raise InvalidInputError(
        f"{target!r} has no {', '.join(NAMES)}; name what to run: {target}:NAME (MODULE:GRAPH)"
    )


def _agent(value: Any, target: str) -> Agent:
    if callable(value) and not isinstance(value, GraphSpec | Plan | Agent):
        try:
            value = value()
        except HiveError:
            raise
        except Exception as error:
            raise InvalidInputError(f"calling {target!r} failed: {explained(error)}") from error
    if isinstance(value, Agent):
        return value
    work, goal = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    if not isinstance(work, GraphSpec | Plan) or not (goal is None or isinstance(goal, Goal)):
        raise InvalidInputError(
            f"{target!r} is {kind_of(value)}, not a GraphSpec or a Plan; it can be {_KINDS}"
        )
    return Agent(work=work, goal=goal)
