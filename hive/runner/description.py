"""Descriptions of agents in JSON or YAML.

A description is a program: it says which functions are imported and called, as a Python file does.
Load one that you would also run as a script.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cas.errors import HiveError, InvalidInputError, LimitError
from hive.graph.goal import Goal
from hive.graph.spec import GraphSpec
from hive.plan.config import ExecutorConfig
from hive.plan.judge import EvaluationRule, HybridJudge
from hive.plan.plan import Plan
from hive.runner.agent import Agent
from hive.runner.targets import look_up
from hive.schemas.checkpoint import CheckpointConfig
from hive.validation import problems_of

__all__ = ["ENDINGS", "AgentDescription", "read_description"]

ENDINGS: Final = (".json", ".yaml", ".yml")
MAX_BYTES: Final = 16 * 1024 * 1024


class JudgeDescription(BaseModel):
    """A judge: rules, then a function ``module:name``."""

    model_config = ConfigDict(extra="forbid")

    rules: list[EvaluationRule] = Field(default_factory=list)
    function: str | None = None


class AgentDescription(BaseModel):
    """What a description file holds.

    Functions, node objects and judges are named as ``module:name`` or ``FILE.py:name``; modules are
    looked for in the folder of the description first.

    Attributes:
        format: The format of the description.
        goal: The goal.
        graph: A ``GraphSpec``, where ``function`` of a node is a name as above; or
        plan: A ``Plan``.
        functions: For a graph by node id, for a plan by action name.
        nodes: Node objects, likewise.
        graphs: For a plan: graphs by action name.
        judge: For a plan: how steps are judged.
        limits: For a plan: the fields of an ``ExecutorConfig``.
        checkpoints: The fields of a ``CheckpointConfig``.
        registry: Names a ``Registry`` of the classes that states may hold.
        schema_: Under the name ``schema``: names a ``StateSchema``.
        redact: Names a ``Redaction``.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal[1] = 1
    goal: Goal | None = None
    graph: dict[str, Any] | None = None
    plan: Plan | None = None
    functions: dict[str, str] = Field(default_factory=dict)
    nodes: dict[str, str] = Field(default_factory=dict)
    graphs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    judge: JudgeDescription | None = None
    limits: dict[str, int] | None = None
    checkpoints: CheckpointConfig | None = None
    registry: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    redact: str | None = None


def read_description(file: Path) -> Agent:
    """Read a description and import what it names.

    Raises:
        InvalidInputError: It cannot be read or understood, or names what is not there; the message
            has every problem with its place.
    """
    content = _parse(file)
    try:
        described = AgentDescription.model_validate(content)
        return _agent(described, file.parent)
    except ValidationError as error:
        problems = "; ".join(problems_of(error))
        raise InvalidInputError(f"{str(file)!r} describes no agent: {problems}") from error
    except InvalidInputError as error:
        raise InvalidInputError(f"{str(file)!r} describes no agent: {error}") from error


def _agent(described: AgentDescription, folder: Path) -> Agent:
    if (described.graph is None) == (described.plan is None):
        found = "has neither" if described.plan is None else "has both"
        raise InvalidInputError(f"it needs either a graph or a plan, and {found}")
    of_plans = (described.graphs, described.judge, described.limits)
    if described.plan is None and any(of_plans):
        raise InvalidInputError("graphs, judge and limits are for a description with a plan")
    names = _Names(folder)
    judge = None
    if described.judge is not None:
        function = names.target(described.judge.function, "judge.function")
        judge = HybridJudge(described.judge.rules, function)
    agent = Agent(
        work=described.plan or names.graph(described.graph or {}, "graph"),
        goal=described.goal,
        functions=names.targets(described.functions, "functions"),
        nodes=names.targets(described.nodes, "nodes"),
        graphs={
            name: names.graph(fields, f"graphs[{name!r}]")
            for name, fields in described.graphs.items()
        },
        judge=judge,
        limits=None if described.limits is None else _limits(described.limits),
        checkpoints=described.checkpoints,
        registry=names.target(described.registry, "registry"),
        schema=names.target(described.schema_, "schema"),
        redact=names.target(described.redact, "redact"),
    )
    if names.problems:
        raise InvalidInputError("; ".join(names.problems))
    return agent


class _Names:
    """Looks up what a description names, and collects the ``problems`` with that."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[str] = []
        self._folder = folder

    def target(self, name: str | None, place: str) -> Any:
        """Return what a name leads to; None, and a problem, if it leads nowhere."""
        try:
            return None if name is None else look_up(name, self._folder)
        except HiveError as error:
            self.problems.append(f"{place}: {error}")
            return None

    def targets(self, names: Mapping[str, str], place: str) -> dict[str, Any]:
        """Return what each of some names leads to."""
        return {key: self.target(name, f"{place}[{key!r}]") for key, name in names.items()}

    def graph(self, fields: Mapping[str, Any], place: str) -> Any:
        """Return a graph whose nodes may name their functions; None, and problems, if none."""
        nodes = fields.get("nodes")
        if isinstance(nodes, list):
            found = [self._node(node, f"{place}.nodes[{at}]") for at, node in enumerate(nodes)]
            fields = {**fields, "nodes": found}
        try:
            return GraphSpec.model_validate(fields)
        except ValidationError as error:
            self.problems += problems_of(error, place)
            return None

    def _node(self, node: Any, place: str) -> Any:
        """Return a node with the function it names; what is no node stays, to be told as such."""
        if not isinstance(node, Mapping) or not isinstance(node.get("function"), str):
            return node
        return {**node, "function": self.target(node["function"], f"{place}.function")}


def _limits(fields: Mapping[str, int]) -> ExecutorConfig:
    known = [field.name for field in dataclasses.fields(ExecutorConfig)]
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise InvalidInputError(f"limits: there is no {unknown[0]!r}; they are {', '.join(known)}")
    return ExecutorConfig(**fields)


def _parse(file: Path) -> Any:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise LimitError(f"{str(file)!r} is larger than {MAX_BYTES} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidInputError(f"cannot read {str(file)!r}: {reason}") from error
    try:
        return _parse_json(text) if file.suffix == ".json" else _parse_yaml(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{str(file)!r}: {error}") from error


def _parse_json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise ValueError(f"the key {key!r} stands there twice")
            found[key] = value
        return found

    return json.loads(text, object_pairs_hook=unique)


def _parse_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise InvalidInputError(
            "reading YAML needs PyYAML: pip install 'hive-checkpoints[yaml]', or write JSON"
        ) from error

    class UniqueKeys(yaml.SafeLoader):
        """The safe loader, which takes the last of several equal keys, made to refuse them."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
                if key is not None and key != "<<" and key in seen:
                    raise ValueError(f"the key {key!r} stands there twice")
                seen.add(key)
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader=UniqueKeys)  # noqa: S506  a safe loader, see above
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {_in_one_line(error)}") from error


def _in_one_line(error: Any) -> str:
    """Say where and what the problem is; PyYAML's own text is a drawing of several lines."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
