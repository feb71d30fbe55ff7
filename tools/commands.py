"""``python -m tools.commands DIR``: the reference of commands and JSON shapes, made from the code.

It writes ``commands.md`` and ``json-schema.json``. A test compares them with what is in
``docs/reference``, so they cannot fall behind; ``make reference`` brings them up to date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import is_typeddict

from hive.cli import shapes, store_shapes
from hive.cli.app import app
from hive.cli.shapes import SHAPES

__all__ = ["command_page", "main", "schema"]

INTRODUCTION: Final = """\
# Command reference

<!-- Made from the code by `make reference`. Change the commands, not this page. -->

What all commands share (the home, references, paths, output, exit codes) stands in
[The command line](../cli.md). Every command also takes `--home DIR`, `--json` and `--help`.
"""
SHARED: Final = ("--home", "--json", "--help")


def main() -> None:
    """Write the files into the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "commands.md").write_text(command_page(), encoding="utf-8")
    (folder / "json-schema.json").write_text(
        json.dumps(schema(), indent=2) + "\n", encoding="utf-8"
    )


def schema() -> dict[str, Any]:
    """Return the JSON Schema of what ``--json`` prints, by command."""
    commands, definitions = _schemas()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What `hive COMMAND --json` prints",
        "description": "properties.COMMAND is the schema of that command's output; the property "
        "with an empty name is that of `hive` alone.",
        "type": "object",
        "properties": commands,
        "$defs": definitions,
    }


def command_page() -> str:
    """Return the page of all commands, in Markdown."""
    outputs, definitions = _schemas()
    group: Any = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for name, command in group.commands.items():
        parts.append("\n".join(_command(name, command, outputs.get(name))))
    parts.append("\n".join(_shapes(definitions)))
    return "\n".join(parts) + "\n"


# Commands


def _command(name: str, command: Any, output: dict[str, Any] | None) -> Iterator[str]:
    arguments = [each for each in command.params if not each.opts[0].startswith("-")]
    usage = " ".join(["hive", name, "[OPTIONS]", *map(_argument, arguments)])
    yield f"## hive {name}"
    yield ""
    yield f"`{usage}`"
    yield ""
    yield from _text(command.help or "")
    rows = [
        (f"`{_argument(each).strip('[]').removesuffix(']...')}`", each.help or "")
        for each in arguments
    ]
    rows += [(_option(each), each.help or "") for each in command.params if _is_own(each)]
    if rows:
        yield ""
        yield "| | |"
        yield "|---|---|"
        yield from (f"| {left} | {_cell(right)} |" for left, right in rows)
    if output is not None:
        yield ""
        yield f"JSON: {_type_text(output)}."
    yield ""


def _is_own(parameter: Any) -> bool:
    return parameter.opts[0].startswith("-") and not set(parameter.opts) & set(SHARED)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    if name.startswith("[") or name.endswith("..."):
        return str(name)
    return str(name) if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    takes_value = not getattr(parameter, "is_flag", False) and parameter.metavar
    value = f" {parameter.metavar}" if takes_value else ""
    return ", ".join(f"`{name}{value}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _text(help_text: str) -> Iterator[str]:
    for paragraph in help_text.strip().split("\n\n"):
        yield " ".join(line.strip() for line in paragraph.splitlines())
        yield ""


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


# Shapes


def _schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of each command, and the definitions that they share."""
    for shape in (*vars(shapes).values(), *vars(store_shapes).values()):
        if is_typeddict(shape):
            shape.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
    adapters = [(name, "serialization", TypeAdapter(shape)) for name, shape in SHAPES.items()]
    made, shared = TypeAdapter.json_schemas(adapters)  # type: ignore[arg-type]
    commands = {str(name): _without_titles(each) for (name, _mode), each in made.items()}
    definitions = _without_titles(shared.get("$defs", {}))
    return commands, dict(sorted(definitions.items()))


def _without_titles(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes of the names of fields."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        kept[key] = _without_titles(value)
    return kept


def _shapes(definitions: dict[str, Any]) -> Iterator[str]:
    yield "## JSON shapes"
    yield ""
    yield "What stands for values of a state is told in [Values in JSON](../cli.md#values-in-json)."
    yield "The same as a JSON Schema: [json-schema.json](json-schema.json)."
    for name, schema in definitions.items():
        yield ""
        yield f"### {name}"
        yield ""
        yield "| key | is | |"
        yield "|---|---|---|"
        needed = schema.get("required", [])
        for key, field in schema["properties"].items():
            told = _cell(field.get("description", ""))
            if key not in needed:
                told = f"only {told}" if told else "optional"
            yield f"| `{key}` | {_type_text(field)} | {told} |"


def _type_text(schema: dict[str, Any]) -> str:
    """Say in words what a schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type_text, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type_text(schema['items'])}"
    if schema.get("type") == "object" and "additionalProperties" in schema:
        return f"object of {_type_text(schema['additionalProperties'])}"
    return str(_WORDS.get(schema.get("type", ""), "anything"))


_WORDS: Final = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


if __name__ == "__main__":
    main()
