"""The command line looks at threads as at any run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langgraph.channels import LastValue
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import NodeBuilder, Pregel
from langgraph.types import Command, Send, interrupt

from hive.adapters.langgraph import HiveSaver
from hive.threads import (
    Question,
    delta_channels_of,
    is_thread,
    questions_of,
    standing_of_thread,
)
from tests.hive.command_line import environment, hive
from tests.hive.langgraph.graphs import chat_graph, config_of, delta_graph
from tests.hive.ui.sites import pages_of


def test_log_show_diff_and_gc_work_on_threads(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    with HiveSaver(home) as saver:
        for text in ("one", "two"):
            message = HumanMessage(text, id=text)
            chat_graph(saver).invoke({"messages": [message]}, config_of("alice"))
        newest = saver.repository.head_key("alice")
    listed = hive("log", "alice", "--home", home, "--json").json
    assert len(listed) == 10
    assert "messages" in hive("show", "alice", "--home", home).output
    assert "messages[7]" in hive("diff", "alice~2", "alice", "--home", home).output
    assert hive("gc", "--keep-last", "2", "--home", home).code == 0
    with HiveSaver(home) as saver:
        assert saver.repository.resolve(("alice", newest or "")).sequence == 10
        assert len(list(saver.list(config_of("alice")))) == 2
        assert len(chat_graph(saver).get_state(config_of("alice")).values["messages"]) == 8


def test_show_says_what_a_state_only_seems_to_lack(tmp_path: Path) -> None:
    """A deep agent's messages are a delta channel: they are no part of most checkpoints."""
    home = str(tmp_path / "home")
    with HiveSaver(home) as saver:
        graph = delta_graph(saver, every=4)
        for number in range(3):
            graph.invoke({"n": number, "log": ["in"]}, config_of("alice"))
        repository = saver.repository
        listed = repository.log("alice")
        missing = {each.sequence: delta_channels_of(repository, each) for each in listed}
        repository.commit("bees", {"n": 1})
        assert delta_channels_of(repository, repository.resolve("bees")) == []
        pages = pages_of(repository)
        for sequence, names in missing.items():
            page = pages.get("/step", run="alice", at=sequence)
            assert ("Not in it" in page) == bool(names)
    # Nothing is written to the channel before the first checkpoint; two have a snapshot of it.
    assert missing == {number: [] if number in (1, 6, 11) else ["log"] for number in range(1, 13)}
    assert "not in it   log: made by the graph" in hive("show", "alice", "--home", home).output
    assert "not in it" not in hive("show", "alice@11", "--home", home).output
    for ref, names in (("alice", ["log"]), ("alice@11", []), ("bees", [])):
        assert hive("show", ref, "--home", home, "--json").json["not_in_state"] == names


def test_grep_finds_what_a_delta_channel_was_given(tmp_path: Path) -> None:
    """As a deep agent's messages: most of them stand in no state, and none is shown twice."""
    home = str(tmp_path / "home")
    with HiveSaver(home) as saver:
        for number in range(3):
            turn = {"n": number, "log": [f"asked {number}"]}
            delta_graph(saver, every=50).invoke(turn, config_of("deep"))
        for text in ("one", "two"):
            message = HumanMessage(f"asked {text}", id=text)
            chat_graph(saver).invoke({"messages": [message]}, config_of("chat"))
    found = hive("grep", "^(asked|first) ", "--home", home, "--json").json
    told = [(each["run"], each["pending"], each["path"], each["text"]) for each in found]
    assert ("chat", None, "['messages'][4].content", "asked two") in told
    assert {pending for run, pending, *_rest in told if run == "chat"} == {None}
    assert [each for each in told if each[:2] == ("deep", "log")] == [
        ("deep", "log", "[0]", f"{what} {number}")
        for number in range(3)
        for what in ("asked", "first")
    ]
    shown = hive("grep", "first 1", "--home", home).output
    assert re.fullmatch(r"deep@\d+ pending log\[0\]: first 1\n", shown)


def answering_graph(saver: HiveSaver) -> Any:
    """Two nodes at once, one of which asks; where they meet, ``bad`` as the answer is an error."""

    def ask(_state: MessagesState) -> dict[str, Any]:
        return {"messages": [("ai", interrupt({"ask": "go on?"}))]}

    def meet(state: MessagesState) -> dict[str, Any]:
        if any(message.content == "bad" for message in state["messages"]):
            raise ValueError("that was bad")
        return {}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("think", lambda _state: {"messages": [("ai", "hm")]})
    builder.add_node("ask", ask)
    builder.add_node("meet", meet)
    builder.add_edge(START, "think")
    builder.add_edge(START, "ask")
    builder.add_edge(["think", "ask"], "meet")
    return builder.compile(checkpointer=saver, interrupt_before=["meet"])


def test_how_threads_stand(tmp_path: Path) -> None:
    home = str(tmp_path / "home")

    def standings() -> dict[str, str]:
        return {row["run"]: row["status"] for row in hive("runs", "--home", home, "--json").json}

    with HiveSaver(home) as saver:
        graph = answering_graph(saver)
        for thread in ("alice", "bob", "carol"):
            graph.invoke({"messages": [("user", "hi")]}, config_of(thread))
        assert standings() == {"alice": "paused", "bob": "paused", "carol": "paused"}
        waiting = hive("runs", "--waiting", "--home", home, "--json").json
        question = {"kind": "input", "step": "ask", "message": "{'ask': 'go on?'}"}
        assert [row["waits"] for row in waiting] == [[question]] * 3
        assert f"hive show --home {home} alice" in hive("--home", home).output
        for thread, answer in (("alice", "fine"), ("bob", "bad")):
            graph.invoke(Command(resume=answer), config_of(thread))
        # Both came to the join, and the graph was told to stop before what is behind it.
        assert standings() == {"alice": "unfinished", "bob": "unfinished", "carol": "paused"}
        graph.invoke(None, config_of("alice"))
        with pytest.raises(ValueError, match="that was bad"):
            graph.invoke(None, config_of("bob"))
    assert standings() == {"alice": "done", "bob": "failed", "carol": "paused"}
    shown = hive("show", "bob", "--home", home).output
    assert re.search(r"^error +meet: ValueError\('that was bad'\)$", shown, re.MULTILINE)
    resumed = hive("resume", "carol", "--home", home)
    assert resumed.code == 2
    assert "a thread of LangGraph" in resumed.errors


def test_how_threads_of_other_graphs_stand(tmp_path: Path) -> None:
    """Tasks of Send, the functional API, a subgraph's own thread, and triggers of any name."""

    def sent(_state: MessagesState) -> list[Send]:
        return [Send("work", {"messages": []}), Send("work", {"messages": []})]

    with HiveSaver(tmp_path / "home") as saver:
        repository = saver.repository
        builder = StateGraph(MessagesState)
        builder.add_node("work", lambda _state: {"messages": [("ai", "done")]})
        builder.add_node("plan", lambda _state: {})
        builder.add_edge(START, "plan")
        builder.add_conditional_edges("plan", sent, ["work"])
        builder.compile(checkpointer=saver).invoke({"messages": []}, config_of("sends"))
        listed = [standing_of_thread(repository, each) for each in repository.log("sends")]
        assert listed == ["done", "unfinished", "unfinished", "unfinished"]

        @entrypoint(checkpointer=saver)
        def flow(number: int) -> int:
            return number + int(interrupt("how many?"))

        flow.invoke(1, config_of("flow"))
        head = repository.resolve("flow")
        assert standing_of_thread(repository, head) == "paused"
        assert questions_of(repository, head) == [Question("flow", "how many?")]
        assert flow.invoke(Command(resume=2), config_of("flow")) == 3
        assert standing_of_thread(repository, repository.resolve("flow")) == "done"

        node = NodeBuilder().subscribe_only("a").do(lambda text: text + "!").write_to("b")
        raw: Any = Pregel(
            nodes={"one": node},
            channels={"a": LastValue(str), "b": LastValue(str)},
            input_channels="a",
            output_channels="b",
            checkpointer=saver,
        )
        raw.invoke("hi", config_of("raw"))
        assert standing_of_thread(repository, repository.resolve("raw")) == "unfinished"
        repository.commit("bees", {"n": 1})
        assert not is_thread(repository.resolve("bees"))


def test_without_langgraph_an_import_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['langchain_core'] = None\n"
        "try:\n    import hive.adapters.langgraph\n"
        "except ModuleNotFoundError as error:\n    print(error.name, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("langchain_core")
    assert done.stdout.endswith("): pip install 'hive-checkpoints[langgraph]'\n")
