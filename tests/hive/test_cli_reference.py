"""The reference is made from the code, and is up to date."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from hive.cli.app import app
from hive.cli.shapes import SHAPES
from tests.hive.command_line import hive
from tools.commands import command_page, schema

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
COMMANDS = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_page_of_commands_is_up_to_date() -> None:
    assert (REFERENCE / "commands.md").read_text() == command_page(), "run `make reference`"


def test_the_json_schema_is_up_to_date() -> None:
    assert json.loads((REFERENCE / "json-schema.json").read_text()) == schema()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_documented_shape(command: str) -> None:
    assert command in SHAPES, "add what it prints to hive/cli/shapes.py"
    section = command_page().split(f"\n## hive {command}\n", 1)[1].split("\n## ", 1)[0]
    for option in re.findall(r"^ +(--[a-z-]+)", hive(command, "--help").output, re.MULTILINE):
        assert re.search(rf"`{option}[ `]", section) or option in ("--home", "--json", "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_stands_in_the_list(command: str) -> None:
    page = (REFERENCE.parent / "cli.md").read_text()
    assert re.search(rf"^\| .*`hive {command}\b.*\|$", page, re.MULTILINE)
