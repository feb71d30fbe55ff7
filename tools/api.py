"""The page of public names, made from the code: what can be imported, called and caught."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

import pydantic

__all__ = ["MODULES", "api_page", "members", "public_names"]

MODULES: Final = (
    *("hive", "hive.graph", "hive.plan", "hive.runner", "hive.adapters.langgraph"),
    *("hive.telemetry", "manifests", "manifests.events", "hive.graph.events", "hive.errors"),
)
"""The modules whose ``__all__`` is the public surface, the ones for most users first."""

_INTRODUCTION: Final = """\
# API reference

Made from the code. What is not on this page is not public: it may change in any version. `hive` has
what most programs need; `manifests` is the layer below, without agents or executors.
"""
_SECTION: Final = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Danger):", re.MULTILINE)


def public_names(module: str) -> list[str]:
    """Return the public names of a module, in order."""
    return sorted(importlib.import_module(module).__all__)


def api_page() -> str:
    """Return the page in Markdown."""
    parts = [_INTRODUCTION]
    seen: dict[int, str] = {}
    for module in MODULES:
        parts.append(f"## {module}\n")
        parts.append(_text(inspect.getdoc(importlib.import_module(module)) or ""))
        for name in public_names(module):
            value = getattr(importlib.import_module(module), name)
            parts.append(f"### {module}.{name}\n")
            if id(value) in seen:
                parts.append(f"The same as `{seen[id(value)]}`.\n")
                continue
            if inspect.isclass(value) or inspect.isfunction(value):
                seen[id(value)] = f"{module}.{name}"
            parts += _entry(name, value)
    return "\n".join(parts)


def members(value: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties of a class, those of its bases in Hive included."""
    names: dict[str, None] = {}
    for base in reversed(value.__mro__):
        if base.__module__.split(".")[0] in ("hive", "manifests", "cas"):
            names |= dict.fromkeys(vars(base))
    for name in names:
        member = inspect.getattr_static(value, name)
        if name.startswith("_") or name.startswith("model_"):
            continue
        if isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member):
            yield name, member


def _entry(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(name, value)
    elif callable(value):
        yield f"```text\n{name}{_signature(value)}\n```\n"
        yield _text(inspect.getdoc(value) or "")
    else:
        yield f"```text\n{name} = {_plain(value)}\n```\n"


def _plain(value: Any) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


def _class(name: str, value: type) -> Iterator[str]:
    if issubclass(value, pydantic.BaseModel):
        fields = value.model_fields
        yield (
            "```text\n"
            + "\n".join(f"{field}: {value.__annotations__.get(field, 'Any')}" for field in fields)
            + "\n```\n"
        )
    elif not issubclass(value, BaseException) and value.__init__ is not object.__init__:
        yield f"```text\n{name}{_signature(value)}\n```\n"
    if issubclass(value, BaseException):
        parents = [base.__name__ for base in value.__bases__]
        yield f"A kind of `{'`, `'.join(parents)}`. Code: `{getattr(value, 'code', '')}`.\n"
    yield _text(inspect.getdoc(value) or "")
    for member_name, member in members(value):
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        shown = "" if isinstance(member, property) else _signature(function)
        yield f"#### {name}.{member_name}\n"
        yield f"```text\n{member_name}{shown}\n```\n"
        yield _text(inspect.getdoc(function) or "")


def _signature(value: Any) -> str:
    """Return a signature, in several lines where one is too long."""
    try:
        signature = inspect.signature(value)
    except (ValueError, TypeError):
        return "(...)"
    parameters = [
        _plain(each).replace("'", "")
        for name, each in signature.parameters.items()
        if name not in ("self", "cls")
    ]
    star = [
        at
        for at, each in enumerate(
            each for name, each in signature.parameters.items() if name not in ("self", "cls")
        )
        if each.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    if star and not any("*" in each for each in parameters[: star[0]]):
        parameters.insert(star[0], "*")
    end = (
        ""
        if signature.return_annotation is inspect.Signature.empty
        else (f" -> {_plain(signature.return_annotation).strip(chr(39))}")
    )
    flat = f"({', '.join(parameters)}){end}"
    if len(flat) <= 80:
        return flat
    return "(\n" + "".join(f"    {each},\n" for each in parameters) + f"){end}"


def _text(doc: str) -> str:
    """Return a docstring as Markdown: its sections (Args, Raises) become bold words and lists."""
    out: list[str] = []
    in_section = False
    for line in doc.splitlines():
        if _SECTION.match(line):
            out += ["", f"**{line.rstrip(':')}**" if line.endswith(":") else line, ""]
            in_section = True
        elif in_section and re.match(r"    \*{0,2}\w+( \(.*\))?: ", line):
            name, _colon, rest = line.strip().partition(": ")
            out.append(f"- `{name}`: {rest}")
        elif in_section and line.startswith("        "):
            out.append("  " + line.strip())
        else:
            out.append(line.strip() if in_section else line)
    return _escaped("\n".join(out)).replace("``", "`") + "\n"


def _escaped(text: str) -> str:
    """Let no angle bracket outside of code become HTML, and `::` introduce a block."""
    text = re.sub(r"^ *::$", "", text, flags=re.MULTILINE)
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    return re.sub(r"(?<![`\w])<(\w)", r"&lt;\1", text)
