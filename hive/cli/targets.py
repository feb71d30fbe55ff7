"""Find the graph that a person named: ``MODULE:GRAPH`` or ``FILE.py:GRAPH``.

Importing runs code. That is what the person asked for by typing the target, or by having typed it
when the run was launched. Nothing is ever imported because bytes in a store name it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cas.errors import HiveError, InvalidInputError

if TYPE_CHECKING:
    from hive.graph import Goal, GraphSpec

__all__ = ["load_target"]


def load_target(target: str, folder: Path) -> tuple[GraphSpec, Goal]:
    """Import the module or file and return its graph and goal.

    Args:
        target: ``package.module:name`` or ``path/to/file.py:name``; the name may be dotted. It must
            be a ``GraphSpec``, a tuple ``(GraphSpec, Goal)``, or a callable without arguments that
            returns either. Without a goal, one named after the graph is made up.
        folder: where relative files lie and where imports look first.

    Raises:
        InvalidInputError: when the target is malformed, cannot be imported or is no graph.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise InvalidInputError(
            f"{target!r} does not name a graph; write MODULE:GRAPH or FILE.py:GRAPH, "
            "for example survey.py:graph"
        )
    value: Any = _import(place, folder)
    for attribute in name.split("."):
        try:
            value = getattr(value, attribute)
        except AttributeError as error:
            raise InvalidInputError(f"{place!r} has no {name!r}") from error
    return _graph_and_goal(value, target)


def _import(place: str, folder: Path) -> ModuleType:
    try:
        if place.endswith(".py"):
            return _import_file((folder / place).resolve())
        _look_first_in(folder)
        return importlib.import_module(place)  # noqa: TID251  a person typed it
    except HiveError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or place
        looked = f" (looked in {str(folder)!r} first)" if place.startswith(missing) else ""
        raise InvalidInputError(
            f"cannot import {place!r}: there is no module {missing!r}{looked}"
        ) from error
    except Exception as error:
        # Whatever the user's module raises while it is imported is theirs to mend.
        raise InvalidInputError(
            f"importing {place!r} failed: {type(error).__name__}: {error}"
        ) from error


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise InvalidInputError(f"there is no file {str(file)!r}")
    # As `python FILE.py` does, so that a script finds the modules that lie beside it.
    _look_first_in(file.parent)
    # Under its own name unless that is taken: a file called json.py must not replace json.
    name = file.stem if file.stem.isidentifier() and file.stem not in sys.modules else "hive_target"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InvalidInputError(f"{str(file)!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pydantic models look their module up there while the file is still running.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _look_first_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _graph_and_goal(value: Any, target: str) -> tuple[GraphSpec, Goal]:
    from hive.graph import Goal, GraphSpec

    if callable(value) and not isinstance(value, GraphSpec):
        try:
            value = value()
        except HiveError:
            raise
        except Exception as error:
            raise InvalidInputError(
                f"calling {target!r} failed: {type(error).__name__}: {error}"
            ) from error
    graph, goal = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    if not isinstance(graph, GraphSpec) or not (goal is None or isinstance(goal, Goal)):
        raise InvalidInputError(
            f"{target!r} is a {type(value).__name__}, not a GraphSpec, a tuple (GraphSpec, Goal) "
            "or a function without arguments that returns one"
        )
    if goal is None:
        goal = Goal(id=graph.goal_id, name=graph.id, description=f"Run the graph {graph.id}.")
    return graph, goal
