"""Graphs that run without a network, for any saver."""

from __future__ import annotations

import operator
import random
from collections.abc import Sequence
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

__all__ = [
    "chat_graph",
    "config_of",
    "delta_graph",
    "random_graph",
    "tools_graph",
]

Saver = BaseCheckpointSaver[Any]
THREAD = "a thread"


def config_of(thread: str = THREAD, **more: str) -> Any:
    return {"configurable": {"thread_id": thread, **more}}


# -- a chat with one tool ------------------------------------------------------------------------


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def chat_graph(saver: Saver | None, *, asks: bool = False) -> Any:
    """An agent that calls a tool once for every question; ``asks``: after a person allowed it."""

    def agent(state: Chat) -> dict[str, Any]:
        messages = state["messages"]
        last = messages[-1]
        if isinstance(last, HumanMessage):
            call = {"name": "look_up", "args": {"q": last.content}, "id": f"call-{len(messages)}"}
            return {"messages": [AIMessage("", id=f"m{len(messages)}", tool_calls=[call])]}
        return {"messages": [AIMessage(f"found {last.content}", id=f"m{len(messages)}")]}

    def tools(state: Chat) -> dict[str, Any]:
        messages = state["messages"]
        last = messages[-1]
        assert isinstance(last, AIMessage)
        call = last.tool_calls[0]
        answer = interrupt({"allow": call["args"]}) if asks else "yes"
        result = f"{answer}: " + f"about {call['args']['q']} " * 40
        return {"messages": [ToolMessage(result, tool_call_id=call["id"], id=f"m{len(messages)}")]}

    def after(state: Chat) -> str:
        return "tools" if getattr(state["messages"][-1], "tool_calls", None) else END

    builder = StateGraph(Chat)
    builder.add_node("agent", agent)
    builder.add_node("tools", tools)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", after)
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=saver)


# -- several tools at once, each of which asks ----------------------------------------------------


class Work(TypedDict):
    results: Annotated[list[str], operator.add]


def tools_graph(saver: Saver, ran: list[str], names: Sequence[str] = ("a", "b", "c")) -> Any:
    """Tools in parallel; all but the first ask a person. ``ran`` notes each that got to its end."""

    def plan(_state: Work) -> dict[str, Any]:
        return {"results": ["planned"]}

    def tool(state: Any) -> dict[str, Any]:
        name = state["name"]
        answer = "alone" if name == names[0] else interrupt(f"may {name}?")
        ran.append(name)
        return {"results": [f"{name}: {answer}"]}

    def fan_out(_state: Work) -> list[Send]:
        return [Send("tool", {"name": name}) for name in names]

    builder: Any = StateGraph(Work)
    builder.add_node("plan", plan)
    builder.add_node("tool", tool)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", fan_out, ["tool"])
    return builder.compile(checkpointer=saver)


# -- delta channels -------------------------------------------------------------------------------


def _appended(state: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


def delta_graph(saver: Saver, *, every: int = 4) -> Any:
    """Two steps a turn that append to a delta channel with a snapshot at every fourth update."""

    channel: Any = Annotated[list, DeltaChannel(_appended, snapshot_frequency=every)]
    # Annotations are texts in this module, which LangGraph could not evaluate.
    state: Any = TypedDict("state", {"log": channel, "n": int})

    def first(values: Any) -> dict[str, Any]:
        return {"log": [f"first {values['n']}"]}

    def second(values: Any) -> dict[str, Any]:
        return {"log": [f"second {values['n']} after {len(values['log'])}"]}

    builder: Any = StateGraph(state)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    return builder.compile(checkpointer=saver)


# -- any graph ------------------------------------------------------------------------------------


class Anything(TypedDict):
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]
    n: int
    note: dict[str, Any]


def random_graph(saver: Saver, seed: int) -> Any:
    """A graph drawn from a seed: branches, loops, fans of tasks, subgraphs, questions, commands."""
    rng = random.Random(seed)
    names = [f"node{number}" for number in range(rng.randint(2, 4))]
    most = rng.randint(4, 9)
    kinds = {
        name: rng.choice(["plain", "plain", "asks", "command", "note", "subgraph"])
        for name in names
    }
    ways = {name: [rng.choice([*names, "fan", END]) for _ in range(3)] for name in names}
    fans = {name: rng.randint(1, 3) for name in names}
    builder = StateGraph(Anything)

    def route(name: str, state: Any) -> Any:
        if state["n"] >= most:
            return END
        way = ways[name][state["n"] % 3]
        if way == "fan":
            return [Send("worker", {"n": state["n"], "item": at}) for at in range(fans[name])]
        return way

    def node_of(name: str) -> Any:
        def node(state: Any) -> Any:
            n = state["n"]
            lines = [f"{name}@{n}"]
            update: dict[str, Any] = {"n": n + 1}
            if kinds[name] == "asks" and n % 2:
                lines.append(f"was told {interrupt({'asked by': name, 'n': n})}")
            if kinds[name] == "note":
                update["note"] = {"by": name, "n": n, "deep": [{"x": n}, (n, None)[1]]}
            update["messages"] = [AIMessage(f"{name} says {n}", id=f"{name}-{n % 3}")]
            update["log"] = lines
            if kinds[name] == "command" and n + 1 < most:
                return Command(update=update, goto=ways[name][n % 3].replace("fan", names[0]))
            return update

        return node

    def worker(state: Any) -> dict[str, Any]:
        return {"log": [f"worker {state['item']} of {state['n']}"], "n": state["n"] + 1}

    inner = StateGraph(Anything)
    inner.add_node("inner", lambda state: {"log": [f"inner {state['n']}"], "n": state["n"] + 1})
    inner.add_node(
        "ask",
        lambda state: {
            "log": [f"inner told {interrupt(state['n'])}"] if state["n"] % 3 == 1 else []
        },
    )
    inner.add_edge(START, "inner")
    inner.add_edge("inner", "ask")
    below = inner.compile()

    for name in names:
        builder.add_node(name, below if kinds[name] == "subgraph" else node_of(name))
        if kinds[name] != "command":
            builder.add_conditional_edges(
                name, lambda state, name=name: route(name, state), [*names, "worker", END]
            )
    builder.add_node("worker", worker)
    builder.add_conditional_edges(
        "worker",
        lambda state: END if state["n"] >= most else names[state["n"] % len(names)],
        [*names, END],
    )
    builder.add_edge(START, names[0])
    return builder.compile(checkpointer=saver)
