"""States of older versions are migrated when they are restored and resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hive import (
    CheckpointManager,
    ConflictError,
    InvalidInputError,
    StateSchema,
    UnsupportedFormatError,
)
from hive.graph import EdgeSpec, Goal, GraphExecutor, GraphSpec, NodeSpec, Runtime
from hive.graph.schema import LABEL
from hive.plan import ActionSpec, FlexibleGraphExecutor, Plan, PlanStep

GOAL = Goal(id="goal")


class Crash(BaseException):
    """Ends an execution where it is, as a signal handler's exception would."""


def texts(state: dict[str, Any]) -> dict[str, Any]:
    if "messages" in state:
        state["messages"] = [{"text": text} for text in state["messages"]]
    return state


def roles(state: dict[str, Any]) -> dict[str, Any]:
    if "messages" in state:
        state["messages"] = [{"role": "user", **message} for message in state["messages"]]
    return state


async def execute_later(state: dict[str, Any]) -> dict[str, Any]:
    return state


SCHEMA = StateSchema(3, {1: texts, 2: roles})


def chat(crashes: bool) -> GraphSpec:
    """A graph that hands messages on, as input and in memory, and pauses before the last node."""

    def say(messages: list[Any]) -> dict[str, Any]:
        return {"messages": [*messages, messages[0]]}

    def read(messages: list[Any]) -> dict[str, Any]:
        if crashes:
            raise Crash
        return {"read": [sorted(message) for message in messages]}

    return GraphSpec(
        id="chat",
        entry_node="say",
        nodes=[
            NodeSpec(id="say", output_keys=["messages"], function=say),
            NodeSpec(id="read", output_keys=["read"], function=read),
        ],
        edges=[EdgeSpec(id="next", source="say", target="read")],
    )


def execute(manager: CheckpointManager, crashes: bool = False) -> Any:
    executor = GraphExecutor(Runtime(), manager)
    given = {"messages": ["hi"]} if crashes else None
    return asyncio.run(executor.execute(chat(crashes), GOAL, given, run="r", resume=True))


def test_a_state_is_migrated_step_by_step(home: Path) -> None:
    with CheckpointManager(home) as manager:
        manager.save("run", {"messages": ["hi"]})
        assert LABEL not in manager.history("run")[0].labels
    with CheckpointManager(home, schema=StateSchema(2, {1: texts})) as manager:
        state = manager.restore("run")
        assert state == {"messages": [{"text": "hi"}]}
        manager.save("run", state, labels={"mine": "kept"})
        assert manager.history("run")[0].labels == {"mine": "kept", LABEL: "2"}
    with CheckpointManager(home, schema=SCHEMA) as manager:
        for sequence in (1, 2):
            assert manager.restore(f"run@{sequence}") == {
                "messages": [{"role": "user", "text": "hi"}]
            }
        assert manager.repository.restore("run@1") == {"messages": ["hi"]}, "what was stored"


def test_a_graph_resumes_through_a_migration(home: Path) -> None:
    with CheckpointManager(home) as manager, pytest.raises(Crash):
        execute(manager, crashes=True)
    with CheckpointManager(home, schema=SCHEMA) as manager:
        result = execute(manager)
        assert result.success
        # The input of the node that was in flight is migrated like the memory.
        assert result.output["read"] == [["role", "text"], ["role", "text"]]
        assert result.path == ["say", "read"]
        head = manager.latest("r")
        assert head is not None
        assert head.labels == {LABEL: "3"}
        assert execute(manager) == result


def test_a_plan_resumes_through_a_migration(home: Path) -> None:
    plan = Plan(
        id="p",
        steps=[
            PlanStep(id="say", action=ActionSpec(name="say"), expected_outputs=["messages"]),
            PlanStep(
                id="read",
                action=ActionSpec(name="read"),
                inputs={"found": "$steps.say.messages"},
                dependencies=["say"],
                requires_approval=True,
            ),
        ],
    )
    functions: dict[str, Callable[..., Any]] = {
        "say": lambda: ["hi"],
        "read": lambda found, messages: [sorted(found[0]), sorted(messages[0])],
    }

    def run(manager: CheckpointManager, **arguments: Any) -> Any:
        executor = FlexibleGraphExecutor(Runtime(), manager, functions)
        return asyncio.run(executor.execute_plan(plan, GOAL, run="r", resume=True, **arguments))

    with CheckpointManager(home) as manager:
        assert run(manager).status == "awaiting_approval"
    with CheckpointManager(home, schema=SCHEMA) as manager:
        assert run(manager).approvals[0].inputs == {"found": [{"role": "user", "text": "hi"}]}
        result = run(manager, approvals={"read": True})
        assert result.results["read"] == [["role", "text"]] * 2


def test_a_gap_is_an_error_and_changes_nothing(home: Path) -> None:
    with CheckpointManager(home) as manager, pytest.raises(Crash):
        execute(manager, crashes=True)
    with CheckpointManager(home, schema=StateSchema(3, {1: texts})) as manager:
        with pytest.raises(InvalidInputError, match="no migration from 2 is registered"):
            manager.restore("r")
        with pytest.raises(InvalidInputError, match="no migration from 2 is registered"):
            execute(manager)
        assert len(manager.history("r")) == 2


def test_a_newer_state_is_refused(home: Path) -> None:
    with CheckpointManager(home, schema=SCHEMA) as manager, pytest.raises(Crash):
        execute(manager, crashes=True)
    for schema in (None, StateSchema(2, {1: texts})):
        with CheckpointManager(home, schema=schema) as manager:
            with pytest.raises(UnsupportedFormatError, match="has version 3"):
                execute(manager)
            with pytest.raises(UnsupportedFormatError, match="newer program"):
                manager.restore("r")


def test_a_migration_that_fails_is_named(home: Path) -> None:
    def fail(state: Any) -> Any:
        raise KeyError("messages")

    with CheckpointManager(home) as manager:
        manager.save("run", {})
    with CheckpointManager(home, schema=StateSchema(2, {1: fail})) as manager:
        with pytest.raises(InvalidInputError, match="from version 1 of the state failed: KeyError"):
            manager.restore("run")


def test_a_migration_that_forgets_to_return_loses_no_state(home: Path) -> None:
    def forget(state: dict[str, Any]) -> None:
        state["new"] = 1

    with CheckpointManager(home) as manager, pytest.raises(Crash):
        execute(manager, crashes=True)
    with CheckpointManager(home, schema=StateSchema(2, {1: forget})) as manager:
        with pytest.raises(InvalidInputError, match="from version 1 of the state returned None"):
            manager.restore("r")
        with pytest.raises(InvalidInputError, match="from version 1 of the state returned None"):
            execute(manager)
    with CheckpointManager(home, schema=StateSchema(2, {1: lambda state: [state]})) as manager:
        with pytest.raises(InvalidInputError, match="a migrated state is a mapping"):
            execute(manager)
        assert len(manager.history("r")) == 2


def test_a_label_that_is_no_version_is_refused(home: Path) -> None:
    with CheckpointManager(home) as manager:
        for text in ("0", "two", "-1", "\uff11"):
            manager.repository.commit("run", {}, labels={LABEL: text})
            with pytest.raises(InvalidInputError, match="is no version"):
                manager.restore("run")


def test_a_changed_graph_is_still_refused(home: Path) -> None:
    with CheckpointManager(home) as manager, pytest.raises(Crash):
        execute(manager, crashes=True)
    with CheckpointManager(home, schema=SCHEMA) as manager:
        executor = GraphExecutor(Runtime(), manager)
        changed = chat(False).model_copy(update={"max_steps": 7})
        with pytest.raises(ConflictError, match="max_steps"):
            asyncio.run(executor.execute(changed, GOAL, run="r", resume=True))


@pytest.mark.parametrize("version", [0, -1, True, 1.5, "2"])
def test_a_version_is_a_whole_number_from_one(version: Any) -> None:
    with pytest.raises(InvalidInputError, match="whole number from 1"):
        StateSchema(version)


def test_migrations_start_at_earlier_versions_and_once() -> None:
    schema = StateSchema(3)
    for version in (0, 3, "1"):
        with pytest.raises(InvalidInputError, match="from 1 to 2"):
            schema.migration(version)  # type: ignore[arg-type]
    for function in (5, execute_later):
        with pytest.raises(InvalidInputError, match="from version 2 is a plain function"):
            schema.migration(2)(function)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="has no migrations"):
        StateSchema().migration(1)
    schema.migration(2)(texts)
    with pytest.raises(InvalidInputError, match="already"):
        schema.migration(2)
