"""Find what a person named: ``MODULE:NAME`` or ``FILE.py:NAME``.

Importing runs code. That is what the person asked for by typing the target, by having typed it when
the run was launched, or by writing it into the description of an agent, which is a program like any
other. Nothing is ever imported because bytes in a store name it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from cas.errors import HiveError, InvalidInputError
from hive.text import told
from hive.validation import problems_of

__all__ = ["explained", "import_place", "look_up"]


def look_up(target: str, folder: Path) -> Any:
    """Import a module or file and return what it holds under a name.

    Args:
        target: ``package.module:name`` or ``path/to/file.py:name``; the name may be dotted.
        folder: Where relative files lie and where imports look first.

    Raises:
        InvalidInputError: The target is malformed, cannot be imported or is not there.
    """
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise InvalidInputError(f"{target!r} names nothing; write MODULE:NAME or FILE.py:NAME")
    value: Any = import_place(place, folder)
    for attribute in name.split("."):
        try:
            value = getattr(value, attribute)
        except AttributeError as error:
            raise InvalidInputError(f"{place!r} has no {name!r}") from error
    return value


def import_place(place: str, folder: Path) -> ModuleType:
    """Import a module by its name, or a file that ends in ``.py``.

    Raises:
        InvalidInputError: There is none, or it raises an exception.
    """
    try:
        if place.endswith(".py"):
            return _import_file((folder / place).resolve())
        if not all(map(str.isidentifier, place.split("."))):
            raise InvalidInputError(f"{place!r} is neither the name of a module nor a .py file")
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
        raise InvalidInputError(f"importing {place!r} failed: {explained(error)}") from error


def explained(error: Exception) -> str:
    """Say what a module raised, and at which of its lines; a syntax error says that itself."""
    if isinstance(error, ValidationError):
        said = "; ".join(problems_of(error, error.title))
    else:
        said = told(error)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame for frame in frames if frame.name == "<module>"]
    if not lines or isinstance(error, SyntaxError):
        return said
    return f"{said} ({Path(lines[-1].filename).name}, line {lines[-1].lineno})"


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise InvalidInputError(f"there is no file {str(file)!r}")
    # A file that a description names for each of its functions is run once.
    for known in list(sys.modules.values()):
        if getattr(known, "__file__", None) == str(file):
            return known
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
