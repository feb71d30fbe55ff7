"""``Query``: what a link or a form asks for, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hive.errors import InvalidInputError
from manifests.paths import Step
from manifests.places import parse_path

__all__ = ["MovedError", "Query"]

_NUMBER: Final = re.compile(r"[0-9]{1,15}")


class MovedError(Exception):
    """The answer stands at another place of this site."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.target = target


class Query:
    """The parameters of a request."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """Return a parameter; empty if it is not given."""
        return self._values.get(name, "")

    def needed(self, name: str) -> str:
        """Return a parameter that must be given."""
        text = self.text(name)
        if not text:
            raise InvalidInputError(f"the link lacks {name!r}")
        return text

    def number(self, name: str, default: int = 0) -> int:
        """Return a parameter that is a whole number, 0 or more."""
        text = self.text(name).strip()
        if not text:
            return default
        if not _NUMBER.fullmatch(text):
            raise InvalidInputError(f"{name!r} is a whole number")
        return int(text)

    def place(self) -> tuple[str, int]:
        """Return the run and the sequence of a checkpoint."""
        sequence = self.number("at")
        if not sequence:
            raise InvalidInputError("the link lacks the number of a step")
        return self.needed("run"), sequence

    def path(self) -> list[Step]:
        """Return the steps of a path inside a state."""
        return parse_path(self.text("path"))

    def is_record(self) -> bool:
        """Whether the execution record is meant, and not the state."""
        return self.text("of") == "execution"
