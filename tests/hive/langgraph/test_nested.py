"""Subgraphs with and without a memory of their own, and functions as graphs: as in memory."""

from __future__ import annotations

import operator
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, Send, StateUpdate, interrupt
from typing_extensions import TypedDict

from hive.adapters.langgraph import HiveSaver
from tests.hive.langgraph.graphs import config_of

Durability = Literal["sync", "async", "exit"]
TURNS = 3


class Inner(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    own: Annotated[list[str], operator.add]


class Outer(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    n: int


def asking(checkpointer: bool | None) -> Any:
    """A subgraph that remembers its own steps, or not, and asks."""

    def first(state: Inner) -> Inner:
        return {"log": [f"{checkpointer}: knows {state.get('own', [])}"], "own": ["begun"]}

    def ask(state: Inner) -> Inner:
        answer = interrupt(f"{checkpointer}?")
        return {"log": [f"{checkpointer}: {answer}"], "own": [answer]}

    builder = StateGraph(Inner)
    builder.add_node("first", first)
    builder.add_node("ask", ask)
    builder.add_edge(START, "first")
    builder.add_edge("first", "ask")
    return builder.compile(checkpointer=checkpointer)


def nested_graph(saver: Any, ran: Counter[str]) -> Any:
    """Sends, two subgraphs at once, one that jumps out, a cached node and a deferred one."""

    def leave(_state: Inner) -> Command[Any]:
        return Command(goto="after", graph=Command.PARENT, update={"log": ["left"]})

    leaving: Any = StateGraph(Inner)
    leaving.add_node("leave", leave)
    leaving.add_edge(START, "leave")

    def work(given: dict[str, int]) -> Outer:
        ran["work"] += 1
        return {"log": [f"work {given['item']}"]}

    def cached(_state: Outer) -> Outer:
        ran["cached"] += 1
        return {"log": ["cached"]}

    builder: Any = StateGraph(Outer)
    builder.add_node("start", lambda state: {"n": state.get("n", 0) + 1})
    builder.add_node("work", work)
    builder.add_node("cached", cached, cache_policy=CachePolicy(key_func=lambda _state: "key"))
    builder.add_node("keeps", asking(True))
    builder.add_node("forgets", asking(None))
    builder.add_node("leaver", leaving.compile(), destinations=("after",))
    builder.add_node("after", lambda _state: {"log": ["after"]})
    builder.add_node("late", lambda state: {"log": [f"{len(state['log'])} before"]}, defer=True)
    builder.add_edge(START, "start")
    builder.add_conditional_edges(
        "start", lambda _state: [Send("work", {"item": at}) for at in range(3)], ["work"]
    )
    for one, other in (
        ("start", "cached"),
        ("work", "keeps"),
        ("work", "forgets"),
        ("forgets", "leaver"),
        ("after", "late"),
        ("keeps", "late"),
        ("late", END),
    ):
        builder.add_edge(one, other)
    return builder.compile(checkpointer=saver, cache=InMemoryCache())


def portrait(state: Any) -> Any:
    """What a state says, with those of its subgraphs, without ids."""
    return (
        state.values,
        state.next,
        state.metadata["step"],
        state.metadata["source"],
        sorted(str(asked.value) for asked in state.interrupts),
        sorted(
            (found.name, repr(portrait(found.state) if hasattr(found.state, "tasks") else None))
            for found in state.tasks
        ),
    )


def answer_all(graph: Any, answer: str, durability: Durability) -> Any:
    asked = graph.get_state(config_of()).interrupts
    given = {one.id: f"{answer} to {one.value}" for one in asked}
    return graph.invoke(Command(resume=given), config_of(), durability=durability)


def use_nested(saver: Any, durability: Durability) -> list[Any]:
    ran: Counter[str] = Counter()
    graph = nested_graph(saver, ran)
    seen: list[Any] = []
    for turn in range(TURNS):
        graph.invoke({"log": [f"turn {turn}"]}, config_of(), durability=durability)
        seen.append(portrait(graph.get_state(config_of(), subgraphs=True)))
        seen.append(answer_all(graph, f"answer {turn}", durability))
    history = list(graph.get_state_history(config_of()))
    seen += [portrait(state) for state in history]
    seen.append(len(list(saver.list(config_of()))))
    asks = [state for state in history if state.interrupts]
    branch = graph.update_state(asks[-1].config, {"log": ["changed"]}, as_node="start")
    seen.append(portrait(graph.get_state(branch)))
    graph.bulk_update_state(
        config_of(),
        [
            [StateUpdate({"log": ["one"]}, "start"), StateUpdate({"log": ["two"]}, "cached")],
            [StateUpdate({"log": ["three"]}, "start")],
        ],
    )
    graph.invoke(None, config_of(), durability=durability)
    for found in graph.get_state(config_of(), subgraphs=True).tasks:
        if found.name == "keeps":
            graph.update_state(found.state.config, {"own": ["by hand"]})
    answer_all(graph, "last", durability)
    seen += [portrait(state) for state in graph.get_state_history(config_of())]
    return [*seen, dict(ran)]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_nested_graphs_go_as_in_memory(tmp_path: Path, durability: Durability) -> None:
    with HiveSaver(tmp_path) as saver:
        found = use_nested(saver, durability)
        assert found == use_nested(InMemorySaver(), durability)
        assert "knows ['begun'" in str(found), "the subgraph remembered nothing"
        assert saver.repository.check().ok


def use_functions(saver: Any) -> list[Any]:
    """A function as a graph: its tasks ask, fail, are tried again, and run once."""
    ran: Counter[str] = Counter()

    @task
    def double(number: int) -> int:
        ran["double"] += 1
        return 2 * number

    def shaky(number: int) -> tuple[str, int]:
        ran["shaky"] += 1
        if ran["shaky"] % 3:
            raise ConnectionError("not yet")
        return "done", number

    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False)
    retried: Any = task(retry_policy=policy)

    @task
    def ask(question: str) -> list[str]:
        first = interrupt(question)
        return [first, interrupt(f"after {first}")]

    @entrypoint(checkpointer=saver)
    def flow(numbers: list[int], *, previous: Any = None) -> Any:
        doubled = [future.result() for future in [double(number) for number in numbers]]
        tried = retried(shaky)(len(numbers)).result()
        answers = ask("ready?").result()
        value = {"doubled": doubled, "tried": list(tried), "answers": answers, "was": previous}
        return entrypoint.final(value=value, save=[*(previous or []), len(numbers)])

    seen: list[Any] = []
    for turn in range(TURNS):
        paused = flow.invoke(list(range(turn + 2)), config_of())
        seen.append([one.value for one in paused["__interrupt__"]])
        paused = flow.invoke(Command(resume=f"yes {turn}"), config_of())
        seen.append([one.value for one in paused["__interrupt__"]])
        seen.append(flow.invoke(Command(resume=f"sure {turn}"), config_of()))
        seen.append(dict(ran))
    return [*seen, *map(portrait, flow.get_state_history(config_of()))]


def test_functions_go_as_in_memory(tmp_path: Path) -> None:
    with HiveSaver(tmp_path) as saver:
        found = use_functions(saver)
        assert found == use_functions(InMemorySaver())
        assert found[4 * TURNS - 1] == {"double": 9, "shaky": 9}
        assert saver.repository.check().ok
