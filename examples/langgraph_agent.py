"""A ReAct-style agent of LangGraph on Hive: interrupted, resumed, branched, pruned. No network.

python examples/langgraph_agent.py [HOME]     (needs: pip install 'hive-checkpoints[langgraph]')
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from hive.adapters.langgraph import HiveSaver


class State(TypedDict):
    """The state of the graph: the conversation."""

    messages: Annotated[list[AnyMessage], add_messages]


PRICES = {"honey": 8, "wax": 3}


def model(messages: list[AnyMessage]) -> AIMessage:
    """Do what a language model would: look up prices, then buy, then say so."""
    last = messages[-1]
    if isinstance(last, HumanMessage):
        return AIMessage("", tool_calls=[_call("price", {"of": last.content}, messages)])
    if isinstance(last, ToolMessage) and last.name == "price":
        return AIMessage("", tool_calls=[_call("buy", {"price": last.content}, messages)])
    return AIMessage(f"Done: {last.content}")


def _call(name: str, arguments: dict[str, Any], messages: list[AnyMessage]) -> Any:
    return {"name": name, "args": arguments, "id": f"{name}-{len(messages)}"}


def agent(state: State) -> dict[str, Any]:
    """Ask the model what to do."""
    return {"messages": [model(state["messages"])]}


def tools(state: State) -> dict[str, Any]:
    """Run the tools it asked for; to buy takes a person's word."""
    asked = state["messages"][-1]
    assert isinstance(asked, AIMessage)
    return {"messages": [_run(call) for call in asked.tool_calls]}


def _run(call: Any) -> ToolMessage:
    if call["name"] == "price":
        result = str(PRICES[call["args"]["of"]])
    else:
        allowed = interrupt(f"Buy for {call['args']['price']}?")
        result = "bought" if allowed == "yes" else "left it"
    return ToolMessage(result, tool_call_id=call["id"], name=call["name"])


def after_agent(state: State) -> str:
    """Run tools if the model asked for any, else end."""
    last = state["messages"][-1]
    return "tools" if isinstance(last, AIMessage) and last.tool_calls else END


def build(saver: HiveSaver) -> Any:
    """Compile the graph."""
    builder = StateGraph(State)
    builder.add_node("agent", agent)
    builder.add_node("tools", tools)
    builder.add_edge(START, "agent")
    builder.add_conditional_edges("agent", after_agent)
    builder.add_edge("tools", "agent")
    return builder.compile(checkpointer=saver)


def session(home: str) -> Iterator[str]:
    """Use one thread in all ways; yield what happened."""
    config: Any = {"configurable": {"thread_id": "shopping"}}
    with HiveSaver(home) as saver:
        graph = build(saver)
        paused = graph.invoke({"messages": [HumanMessage("honey")]}, config)
        yield f"it asks: {paused['__interrupt__'][0].value}"
    with HiveSaver(home) as saver:  # as another process would, days later
        graph = build(saver)
        done = graph.invoke(Command(resume="yes"), config)
        yield f"answered yes: {done['messages'][-1].content}"
        first = list(graph.get_state_history(config))[-2]
        question = HumanMessage("wax", id=first.values["messages"][0].id)
        branch = graph.update_state(first.config, {"messages": [question]})
        paused = graph.invoke(None, branch)
        yield f"in a branch it asks: {paused['__interrupt__'][0].value}"
        graph.invoke(Command(resume="no"), config)
        repo = saver.repository
        before = len(repo.log("shopping"))
        saver.prune(["shopping"])
        freed = repo.gc().objects_removed
        yield f"pruned: {before} checkpoints to {len(repo.log('shopping'))}, freed {freed} objects"
        last = graph.get_state(config).values["messages"][-1].content
        yield f"and still: {last}"


def main() -> None:
    """Tell what happens, line by line."""
    with tempfile.TemporaryDirectory() as folder:
        for line in session(sys.argv[1] if len(sys.argv) > 1 else folder):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
