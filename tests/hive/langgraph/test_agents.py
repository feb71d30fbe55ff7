"""Agents of LangChain: their middleware and answers are with Hive what they are in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pydantic
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
    TodoListMiddleware,
)
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from hive.adapters.langgraph import HiveSaver, strangers
from tests.hive.langgraph.graphs import config_of

Call = tuple[str, dict[str, Any]]
TURNS = 4


class ScriptedModel(BaseChatModel):
    """Answers with the next calls of a script that begins anew with each question."""

    steps: Sequence[Sequence[Call]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        asked = max(at for at, one in enumerate(messages) if isinstance(one, HumanMessage))
        step = sum(isinstance(message, AIMessage) for message in messages[asked:])
        calls: list[Any] = [
            {"name": name, "args": arguments, "id": f"{len(messages)}-{at}"}
            for at, (name, arguments) in enumerate(
                self.steps[step] if step < len(self.steps) else ()
            )
        ]
        answer = AIMessage(f"step {step}", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=answer)])


@tool
def pay(amount: int) -> str:
    """Pay."""
    return f"paid {amount}"


@tool
def look_up(topic: str) -> str:
    """Look something up."""
    return f"all about {topic}"


def agent(saver: Any) -> Any:
    """An agent with a list, tools that run beside one that a person is asked about, a summary."""
    steps: list[list[Call]] = [
        [("write_todos", {"todos": [{"content": "pay", "status": "in_progress"}]})],
        [("pay", {"amount": 1}), ("look_up", {"topic": "bees"}), ("pay", {"amount": 2})],
    ]
    middleware: list[Any] = [
        TodoListMiddleware(),
        HumanInTheLoopMiddleware(interrupt_on={"pay": True}),
        SummarizationMiddleware(
            ScriptedModel(steps=[]), trigger=("messages", 12), keep=("messages", 4)
        ),
    ]
    return create_agent(
        ScriptedModel(steps=steps), [pay, look_up], middleware=middleware, checkpointer=saver
    )


def decisions(turn: int) -> Any:
    edit = {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 9}}}
    given = [{"type": "approve"}, edit, {"type": "reject", "message": "too much"}]
    return Command(resume={"decisions": [given[turn % 3], given[(turn + 1) % 3]]})


def run(saver: Any) -> list[Any]:
    """Use an agent for some turns; return what its history says."""
    graph = agent(saver)
    for turn in range(TURNS):
        graph.invoke({"messages": [HumanMessage(f"question {turn}")]}, config_of())
        assert graph.get_state(config_of()).interrupts
        graph.invoke(decisions(turn), config_of())
    return [portrait(state) for state in graph.get_state_history(config_of())]


async def run_async(saver: Any) -> list[Any]:
    graph = agent(saver)
    for turn in range(TURNS):
        await graph.ainvoke({"messages": [HumanMessage(f"question {turn}")]}, config_of())
        await graph.ainvoke(decisions(turn), config_of())
    return [portrait(state) async for state in graph.aget_state_history(config_of())]


def portrait(state: Any) -> Any:
    """What a state says, without the ids that messages are given at random."""
    values = dict(state.values)
    messages = [message.model_dump(exclude={"id"}) for message in values.pop("messages", [])]
    return (
        messages,
        values,
        state.next,
        state.metadata["step"],
        [asked.value for asked in state.interrupts],
        sorted((task.name, repr(task.error)) for task in state.tasks),
    )


@pytest.mark.parametrize(
    "use", [run, lambda saver: asyncio.run(run_async(saver))], ids=["sync", "async"]
)
def test_an_agent_goes_as_in_memory(tmp_path: Path, use: Callable[[Any], list[Any]]) -> None:
    with HiveSaver(tmp_path) as saver:
        found = use(saver)
        assert found == use(InMemorySaver())
        messages = found[0][0]
        assert "summary" in str(messages[0]["content"]), "nothing was summed up"
        assert len(found) > len(messages)
        assert saver.repository.check().ok


class Part(pydantic.BaseModel):
    count: int


class Answer(pydantic.BaseModel):
    title: str
    parts: list[Part]


def answering(saver: Any) -> Any:
    steps: list[list[Call]] = [[("Answer", {"title": "bees", "parts": [{"count": 2}]})]]
    model = ScriptedModel(steps=steps)
    return create_agent(model, response_format=ToolStrategy(Answer), checkpointer=saver)


def test_answers_that_are_models_come_back_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "_warned", set())
    with HiveSaver(tmp_path) as saver:
        graph = answering(saver)
        with pytest.warns(UserWarning, match=r"types=\[Answer, Part\]"):
            made = graph.invoke({"messages": [HumanMessage("count")]}, config_of())
        held = graph.get_state(config_of()).values["structured_response"]
        assert held == {"title": "bees", "parts": [{"count": 2}]}
    with HiveSaver(tmp_path, types=[Answer, Part]) as saver:
        graph = answering(saver)
        old = graph.get_state(config_of()).values["structured_response"]
        graph.invoke({"messages": [HumanMessage("count again")]}, config_of())
        new = graph.get_state(config_of()).values["structured_response"]
        assert (
            old == new == made["structured_response"] == Answer(title="bees", parts=[Part(count=2)])
        )
