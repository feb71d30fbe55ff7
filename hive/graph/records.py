"""Execution records as they are stored: read, completed by pending writes, with nodes renamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hive import errors
from hive.graph.fingerprint import text_of

__all__ = [
    "branch_path",
    "branch_task",
    "completed",
    "names_to_change",
    "read_record",
    "reading",
    "renamed_record",
]

_Model = TypeVar("_Model", bound=BaseModel)


def read_record(
    model: type[_Model], record: Mapping[str, Any], *, executor: str, version: int
) -> _Model:
    """Rebuild the progress of a run from an execution record, ignoring what else that carries.

    Args:
        model: What to rebuild.
        record: The record.
        executor: The word that marks the records of this kind of executor.
        version: The format of records that is known here.

    Raises:
        UnsupportedFormatError: The record is of a newer Hive.
        InvalidInputError: It is no record of this executor, or malformed.
    """
    if record.get("executor") != executor:
        raise errors.InvalidInputError(
            f"this checkpoint was not written by a {executor} executor, so there is nothing to "
            "continue: restore its state instead"
        )
    if record.get("format") != version:
        raise errors.UnsupportedFormatError(
            f"execution record format {record.get('format')!r} is not known here (this Hive "
            f"knows {version}): upgrade hive-checkpoints"
        )
    fields = {name: record[name] for name in model.model_fields if name in record}
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
        raise errors.InvalidInputError(f"execution record is malformed at {places}") from None


@contextmanager
def reading(run: str) -> Iterator[None]:
    """Say of a run that what its checkpoint holds is malformed, where reading it shows that.

    A bundle can bring any record, with texts for lists and without what every executor writes.

    Raises:
        InvalidInputError: It is.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise errors.InvalidInputError(
            f"run {run!r} stands at a checkpoint that no executor wrote: its state or execution "
            f"record is malformed ({type(error).__name__}); continue from an earlier one"
        ) from error


def branch_path(outer: Sequence[str], source: str, visit: int, edge: str) -> tuple[str, ...]:
    """Return what names a branch in its run.

    Args:
        outer: The branch within which it began; empty if none.
        source: The first id of the node after which it began.
        visit: Which visit of that node it was.
        edge: The id of the edge along which it began.
    """
    return (*outer, f"{source}#{visit}", edge)


def branch_task(path: Sequence[str]) -> str:
    """Return the task under which the pending write of a branch is stored."""
    return json.dumps(list(path), ensure_ascii=False)


def completed(
    record: Mapping[str, Any], pending: Mapping[str, Any], path: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a record in which each branch stands where its pending write says.

    Args:
        record: Of a run or of a branch.
        pending: The pending writes of the checkpoint, by task.
        path: Names the branch.
    """
    section = record.get("section")
    if section is None:
        return dict(record)
    source = record["renamed"].get(section["source"], section["source"])
    branches = {}
    for edge, branch in section["branches"].items():
        own = branch_path(path, source, section["visit"], edge)
        newer = pending.get(branch_task(own), branch)
        branches[edge] = {**newer, "progress": completed(newer["progress"], pending, own)}
    return {**record, "section": {**section, "branches": branches}}


def names_to_change(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Return those of ``names`` that a run's graph does not have yet.

    A program gives the same names at every start of its process, also for a run that was resumed
    under them before, or began under them.
    """
    known = {node["id"] for node in json.loads(record["graph"])["nodes"]} if names else set()
    return {old: new for old, new in names.items() if old in known or new not in known}


def renamed_record(record: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the record of a run or branch with new ids of nodes.

    Args:
        record: The record; its graph's text is renamed as well, where it has one.
        names: ``{old id: new id}``.
    """

    def new(node: Any) -> Any:
        return names.get(node, node)

    changed = dict(record)
    for field in ("next_node", "paused_at"):
        changed[field] = new(record[field])
    changed["path"] = [new(node) for node in record["path"]]
    for field in ("visits", "retries"):
        changed[field] = {new(node): count for node, count in record[field].items()}
    for field, parts in (("finished", ("node", "next_node")), ("failed_visit", ("node",))):
        if record[field] is not None:
            changed[field] = {**record[field], **{part: new(record[field][part]) for part in parts}}
    firsts = {new(node): first for node, first in record["renamed"].items()}
    firsts |= {node: record["renamed"].get(old, old) for old, node in names.items() if old != node}
    changed["renamed"] = firsts
    section = record["section"]
    if section is not None:
        branches = {
            edge: {**branch, "progress": renamed_record(branch["progress"], names)}
            for edge, branch in section["branches"].items()
        }
        changed["section"] = {**section, "source": new(section["source"]), "branches": branches}
    if "graph" in record:
        changed["graph"] = _renamed_graph(record["graph"], names)
    return changed


def _renamed_graph(text: str, names: Mapping[str, str]) -> str:
    """Return the canonical text of a graph with new ids of nodes.

    Raises:
        InvalidInputError: The graph has no node of one of the old ids, or two of one new id.
    """
    graph = json.loads(text)
    known = [node["id"] for node in graph["nodes"]]
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise errors.InvalidInputError(
            f"renamed_nodes names {unknown[0]!r}, which was no node of the run's graph"
        )
    after = [names.get(node, node) for node in known]
    if len(set(after)) < len(after):
        raise errors.InvalidInputError("renamed_nodes gives two nodes the same id")

    def new(node: Any) -> Any:
        return [new(one) for one in node] if isinstance(node, list) else names.get(node, node)

    graph["entry_node"] = new(graph["entry_node"])
    resumes = {f"{old}_resume": f"{node}_resume" for old, node in names.items()}
    graph["entry_points"] = {
        resumes.get(name, name): new(node) for name, node in graph["entry_points"].items()
    }
    for field in ("terminal_nodes", "pause_nodes"):
        graph[field] = new(graph[field])
    for node in graph["nodes"]:
        node["id"] = new(node["id"])
        node["routes"] = {name: new(target) for name, target in node["routes"].items()}
    graph["nodes"].sort(key=lambda node: node["id"])
    for parts, fields in (("edges", ("source", "target")), ("parallel", ("source", "join"))):
        for part in graph.get(parts, ()):
            part.update({field: new(part[field]) for field in fields})
    return text_of(graph)
