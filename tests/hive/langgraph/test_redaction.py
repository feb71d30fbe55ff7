"""What a rule names reaches no byte of a store from a graph of LangGraph, and the graph goes on."""

from __future__ import annotations

import dataclasses
import operator
import random
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import pydantic
import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from hive.adapters.langgraph import HiveSaver
from hive.errors import InvalidInputError, LimitError
from hive.threads import standing_of_thread
from manifests import Redaction, Repository
from tests.hive.langgraph.graphs import config_of, delta_graph
from tests.manifests.stored import stored

MASK = "***"


def masked(*patterns: str) -> Redaction:
    return Redaction(patterns, lambda _path, _value: MASK)


@dataclasses.dataclass
class Named:
    secret: Any


class Stranger(pydantic.BaseModel):
    secret: Any


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    found: Annotated[list[Any], operator.add]
    given: Any


class Job:
    """Parallel tasks, one of which asks a person, under a config with metadata."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._values: dict[str, Any] = {}
        self.markers: dict[str, str] = {}
        self.answers: list[Any] = []

    def at(self, place: str) -> Any:
        """Return a value in which a secret of this place stands under ``secret``."""
        if place not in self._values:
            marker = f"marker-{place}-{self._random.getrandbits(64):016x}-"
            self.markers[place] = marker
            kind = self._random.choice([Named, Stranger, dict])
            value = kind(secret=self._random.choice([marker, [marker], {"a": marker}]))
            self._values[place] = self._random.choice([value, [value], {"in": (value, 1)}])
        return self._values[place]

    def found(self, home: Path) -> set[str]:
        data = stored(home)
        return {place for place, marker in self.markers.items() if marker.encode() in data}

    def _graph(self, saver: Any) -> Any:
        def plan(_state: State) -> dict[str, Any]:
            call = {"name": "tool", "args": {"value": self.at("tool call")}, "id": "1"}
            message = AIMessage("", id="m", tool_calls=[call])
            message.additional_kwargs["secret"] = self.markers.setdefault("message", "marker-m")
            return {"found": [self.at("output")], "messages": [message]}

        def tool(state: Any) -> dict[str, Any]:
            if state["asks"]:
                self.answers.append(interrupt({"about": self.at("interrupt")}))
            return {"found": [self.at(f"task {state['asks']}")]}

        def fan_out(_state: State) -> list[Send]:
            return [
                Send("tool", {"asks": asks, "value": self.at(f"send {asks}")})
                for asks in (False, True)
            ]

        def last(_state: State) -> dict[str, Any]:
            return {"found": [self.at("last")]}

        builder: Any = StateGraph(State)
        builder.add_node("plan", plan)
        builder.add_node("tool", tool)
        builder.add_node("last", last)
        builder.add_edge(START, "plan")
        builder.add_conditional_edges("plan", fan_out, ["tool"])
        builder.add_edge("tool", "last")
        return builder.compile(checkpointer=saver)

    def config(self) -> Any:
        metadata = {"secret": self.markers.setdefault("metadata", "marker-of-metadata")}
        configurable = self.markers.setdefault("configurable", "marker-of-configurable")
        return {**config_of(my_secret=configurable), "metadata": metadata}

    def begin(self, saver: Any) -> Any:
        given = {"given": self.at("input"), "messages": [HumanMessage("hi", id="q")]}
        return self._graph(saver).invoke(given, self.config())

    def end(self, saver: Any) -> Any:
        answer: Command[Any] = Command(resume=self.at("answer"))
        return self._graph(saver).invoke(answer, self.config())


@pytest.mark.filterwarnings("ignore:values of .* are stored with LangGraph's serializer")
@pytest.mark.filterwarnings("ignore:Deserializing unregistered type")
def test_no_secret_of_a_graph_reaches_the_disk(home: Path, seed: int) -> None:
    for redact in (masked("**.secret", "my_*"), None):
        place = home.with_name(f"with {redact is not None}")
        job = Job(seed)
        values: Any = None
        for go in (job.begin, job.end):
            with Repository.open(place, redact=redact) as repository:
                saver = HiveSaver(repository, types=[Named])
                values = go(saver)
                saver.close()
                assert repository.check().ok
        memory, saved = Job(seed), InMemorySaver()
        memory.begin(saved)
        expected = memory.end(saved)
        assert len(values["found"]) == len(expected["found"]) == 4
        assert [each.id for each in values["messages"]] == ["q", "m"]
        assert len(job.answers) == 1
        assert (MASK in repr(values["found"])) is (redact is not None)
        assert job.found(place) == (set() if redact is not None else set(job.markers))


def put(saver: HiveSaver, more: Any = None, **values: Any) -> dict[str, Any]:
    config = config_of(checkpoint_ns="")
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = dict.fromkeys(values, 1)
    metadata: Any = {"source": "loop", "step": 1, **(more or {})}
    saver.put(config, checkpoint, metadata, {})
    found = saver.get_tuple(config)
    assert found is not None
    return {"values": found.checkpoint["channel_values"], "metadata": found.metadata}


def test_metadata_have_the_names_that_they_are_found_by(home: Path) -> None:
    redact = masked("user", "about.token", "step", "source", "parents", "v", "id", "ts")
    with Repository.open(home, redact=redact) as repository:
        saver = HiveSaver(repository)
        about = {"token": "marker-1", "n": 1}
        found = put(saver, {"user": "marker-2", "about": about, "parents": {"": "x"}, "n": 2})
        # What LangGraph goes by stays.
        assert found["metadata"] == {
            "source": "loop",
            "step": 1,
            "user": MASK,
            "about": {"token": MASK, "n": 1},
            "parents": {"": "x"},
            "n": 2,
        }
        kept = {"user": MASK, "about": {"token": MASK, "n": 1}}
        for wanted in ({"n": 2}, {"user": MASK}, kept):
            assert len(list(saver.list(config_of(), filter=wanted))) == 1
        # Else everybody's checkpoints would be found by anybody's name.
        for wanted in ({"user": "marker-2"}, {"user": "another"}):
            assert list(saver.list(config_of(), filter=wanted)) == []
    assert b"marker" not in stored(home)


def test_sends_of_an_older_langgraph_are_redacted(home: Path) -> None:
    with Repository.open(home, redact=masked("**.secret", "v")) as repository:
        saver = HiveSaver(repository)
        config = config_of(checkpoint_ns="")
        checkpoint: Any = empty_checkpoint()
        checkpoint["pending_sends"] = [Send("tool", {"secret": "marker-1"})]
        saver.put(config, checkpoint, {"source": "loop", "step": 1}, {})
        found: Any = saver.get_tuple(config)
        assert found.checkpoint["pending_sends"] == [Send("tool", {"secret": MASK})]
        assert found.checkpoint["v"] == checkpoint["v"]
    assert b"marker" not in stored(home)


def test_what_is_no_tree_is_redacted_or_refused(home: Path) -> None:
    """Kept as bytes of the serializer, it would hide its parts from every rule."""
    nested: Any = "x"
    for _ in range(120):
        nested = [nested]
    with Repository.open(home, redact=masked("**.secret")) as repository:
        saver = HiveSaver(repository)
        odd = {"text": "lone \ud800", "secret": "marker-1"}
        found = put(saver, {"odd": odd}, odd=odd, other={"secret": "marker-2"})
        assert found["values"]["other"] == {"secret": MASK}
        for value in (found["values"]["odd"], found["metadata"]["odd"]):
            assert value["secret"] == MASK
            assert value["text"].startswith("lone ")
        config = saver.get_tuple(config_of())
        assert config is not None
        saver.put_writes(config.config, [("odd", odd), ("x", {"secret": "marker-3"})], "task")
        with pytest.raises(LimitError, match="nested deeper"):
            put(saver, deep={"in": nested, "secret": "marker-4"})
    assert b"marker" not in stored(home)
    with Repository.open(home.with_name("plain")) as repository:
        found = put(HiveSaver(repository), deep={"in": nested})
        assert found["values"] == {"deep": {"in": nested}}


def test_a_rule_that_fails_lets_no_secret_through(home: Path) -> None:
    def fail(_path: str, value: Any) -> Any:
        raise RuntimeError(value)

    with Repository.open(home, redact=Redaction(["**.secret"], fail)) as repository:
        saver = HiveSaver(repository)
        for arguments in ({"a": {"secret": "marker-1"}}, {"more": {"secret": "marker-2"}}):
            with pytest.raises(InvalidInputError, match="could not be encoded") as caught:
                put(saver, **arguments)
            assert "marker" not in str(caught.value)
    assert b"marker" not in stored(home)


@pytest.mark.filterwarnings("ignore:values of .* are stored with LangGraph's serializer")
@pytest.mark.filterwarnings("ignore:Deserializing unregistered type")
def test_a_class_that_nobody_named_is_laid_open(home: Path) -> None:
    value = Stranger(secret={"a": "marker-1", "b": Stranger(secret="marker-2")})
    plain = home.with_name("plain")
    with Repository.open(plain) as repository:
        before = put(HiveSaver(repository), one=value)["values"]["one"]
    assert b"marker-1" in stored(plain)
    with Repository.open(home, redact=masked("one.secret.a", "one.secret.b.secret")) as repository:
        after = put(HiveSaver(repository), one=value)["values"]["one"]
    assert b"marker" not in stored(home)
    assert type(after) is type(before) is dict
    assert before["secret"]["a"] == "marker-1"
    assert after == {"secret": {"a": MASK, "b": {"secret": MASK}}}


def test_delta_channels_are_rebuilt_under_rules_for_everything_else(home: Path) -> None:
    """What is counted of them, and in which step, is LangGraph's own."""
    redact = masked("n", "**.counters_since_delta_snapshot", "**.source", "**.step")
    with Repository.open(home, redact=redact) as repository:
        graph = delta_graph(HiveSaver(repository))
        for n in range(5):
            graph.invoke({"n": n}, config_of())
        values = graph.get_state(config_of()).values
        assert repository.check().ok
    expected = delta_graph(InMemorySaver())
    for n in range(5):
        expected.invoke({"n": n}, config_of())
    log = expected.get_state(config_of()).values["log"]
    assert len(values["log"]) == len(log) == 10
    assert values["n"] == MASK


@pytest.mark.parametrize("pattern", ["__interrupt__.0.value.card", "**.card"])
def test_what_an_interrupt_asks_and_an_exception_says_has_a_name(home: Path, pattern: str) -> None:
    def ask(_state: State) -> dict[str, Any]:
        interrupt({"card": "marker-1", "why": "to pay"})
        return {}

    def fail(_state: State) -> dict[str, Any]:
        raise ValueError("marker-2")

    with Repository.open(home, redact=masked(pattern, "__error__")) as repository:
        for name, node in (("ask", ask), ("fail", fail)):
            builder: Any = StateGraph(State)
            builder.add_node(name, node)
            builder.add_edge(START, name)
            graph = builder.compile(checkpointer=HiveSaver(repository))
            with pytest.raises(ValueError, match="marker-2") if node is fail else nullcontext():
                graph.invoke({"found": []}, config_of(name))
            (task,) = graph.get_state(config_of(name)).tasks
            if node is ask:
                assert [each.value for each in task.interrupts] == [{"card": MASK, "why": "to pay"}]
            else:
                assert task.error == MASK
            assert standing_of_thread(repository, repository.resolve(name)) == (
                "paused" if node is ask else "failed"
            )
    assert b"marker" not in stored(home)
