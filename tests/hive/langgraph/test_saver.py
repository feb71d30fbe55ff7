"""The saver under compiled graphs: interrupts, subgraphs, history, dropping, copying, fencing."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import datetime as dt
import operator
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from hive.adapters.langgraph import HiveSaver, fencing
from hive.adapters.langgraph.places import Place
from hive.adapters.langgraph.versions import next_version
from hive.errors import ConflictError, InvalidInputError, StoreFullError
from manifests import Checkpoint, Repository, RetentionPolicy
from tests.cas.children import in_child
from tests.hive.langgraph.graphs import (
    chat_graph,
    config_of,
    delta_graph,
    tools_graph,
)


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[HiveSaver]:
    with HiveSaver(tmp_path / "home") as opened:
        yield opened
        assert opened.repository.check().ok


def ask(graph: Any, text: str, thread: str = "chat") -> list[Any]:
    messages: list[Any] = graph.invoke(
        {"messages": [HumanMessage(text, id=f"q-{text}")]}, config_of(thread)
    )["messages"]
    return messages


def ids(saver: HiveSaver, thread: str = "chat", **more: Any) -> list[str]:
    return [found.checkpoint["id"] for found in saver.list(config_of(thread), **more)]


def put(saver: HiveSaver, thread: str, parent: str | None = None, **metadata: Any) -> str:
    """Save an empty checkpoint and return its id."""
    config = config_of(thread, checkpoint_ns="")
    if parent is not None:
        config["configurable"]["checkpoint_id"] = parent
    checkpoint = empty_checkpoint()
    saver.put(config, checkpoint, {"source": "loop", "step": 1, **metadata}, {})  # type: ignore[typeddict-item]
    return checkpoint["id"]


# -- opening --------------------------------------------------------------------------------------


def test_it_opens_with_nothing_a_path_or_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIVE_HOME", str(tmp_path / "mine"))
    with HiveSaver() as first:
        ask(chat_graph(first), "weather")
    with HiveSaver(tmp_path / "mine") as second:
        assert len(ids(second)) == 5
    with Repository.open(tmp_path / "mine") as repo:
        third = HiveSaver(repo)
        graph = chat_graph(third)
        assert len(graph.get_state(config_of("chat")).values["messages"]) == 4
        third.close()
        assert repo.resolve("chat").kind == "loop"  # the repository is its owner's to close


def test_hive_s_own_tools_work_on_threads(saver: HiveSaver) -> None:
    graph = chat_graph(saver)
    ask(graph, "one")
    ask(graph, "two")
    repo = saver.repository
    assert [info.name for info in repo.runs()] == ["chat"]
    assert [found.kind for found in repo.log("chat")] == ["loop"] * 4 + ["input"] + ["loop"] * 4 + [
        "input"
    ]
    changes = repo.diff("chat~1", "chat")
    assert any("messages" in change.path for change in changes)
    with Repository.open(repo.home) as plain:  # which knows no class of LangChain
        assert len(plain.restore("chat")["messages"]) == 8
        fork = plain.fork("chat", "another")
        assert fork.key == plain.resolve("chat").key
    assert len(chat_graph(saver).get_state(config_of("another")).values["messages"]) == 8


def test_it_survives_a_shallow_copy_and_a_fork_of_the_process(saver: HiveSaver) -> None:
    graph = chat_graph(copy.copy(saver))
    ask(graph, "before")
    assert in_child(lambda: str(len(ask(graph, "in the child")))) == "+8"
    assert len(ask(graph, "after")) == 12


# -- results as in memory -------------------------------------------------------------------------


def test_async_graphs_go_the_same_way(saver: HiveSaver) -> None:
    async def run(where: Any) -> list[Any]:
        graph = chat_graph(where)
        for text in ("one", "two"):
            await graph.ainvoke({"messages": [HumanMessage(text, id=text)]}, config_of("chat"))
        return [state.values async for state in graph.aget_state_history(config_of("chat"))]

    assert asyncio.run(run(saver)) == asyncio.run(run(InMemorySaver()))


def test_many_async_threads_at_once(saver: HiveSaver) -> None:
    async def run() -> list[int]:
        graph = chat_graph(saver)
        results = await asyncio.gather(
            *(
                graph.ainvoke({"messages": [HumanMessage("hi", id="q")]}, config_of(f"t{number}"))
                for number in range(40)
            )
        )
        return [len(result["messages"]) for result in results]

    assert asyncio.run(run()) == [4] * 40
    assert len(saver.repository.runs()) == 40


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability_resumes(saver: HiveSaver, durability: Any) -> None:
    graph = chat_graph(saver, asks=True)
    graph.invoke({"messages": [HumanMessage("x", id="q")]}, config_of(), durability=durability)
    state = graph.get_state(config_of())
    assert [asked.value for asked in state.interrupts] == [{"allow": {"q": "x"}}]
    done = graph.invoke(Command(resume="sure"), config_of(), durability=durability)
    assert done["messages"][2].content.startswith("sure: ")


def test_metadata_filters_and_windows(saver: HiveSaver) -> None:
    graph = chat_graph(saver)
    ask(graph, "one")
    ask(graph, "two", "other")
    everything = [found.checkpoint["id"] for found in saver.list(None)]
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == 10
    steps = [found.metadata["step"] for found in saver.list(config_of("chat"))]
    assert steps == [3, 2, 1, 0, -1]
    (found,) = saver.list(config_of("chat"), filter={"source": "input"})
    assert found.metadata["step"] == -1
    assert list(saver.list(config_of("chat"), filter={"source": "input", "step": 9})) == []
    assert list(saver.list(None, filter={"') OR 1=1 --": 1})) == []
    newest = ids(saver)
    before = config_of("chat", checkpoint_id=newest[1])
    assert ids(saver, before=before, limit=2) == newest[2:4]
    assert ids(saver, limit=0) == []
    assert [c.checkpoint["id"] for c in saver.list(config_of("chat", checkpoint_id=newest[2]))] == [
        newest[2]
    ]
    one = config_of("chat", checkpoint_id=newest[2])
    found_before = [
        [c.checkpoint["id"] for c in saver.list(one, before=each)] for each in (one, before)
    ]
    assert found_before == [[], [newest[2]]]


def test_an_empty_checkpoint_id_is_none(saver: HiveSaver) -> None:
    graph = chat_graph(saver)
    config = config_of("chat", checkpoint_id="", checkpoint_ns="")
    graph.invoke({"messages": [HumanMessage("one", id="q")]}, config)
    newest = ids(saver)[0]
    found = saver.get_tuple(config)
    assert found is not None
    assert found.config == config_of("chat", checkpoint_ns="", checkpoint_id=newest)
    assert len(list(saver.list(config, before=config))) == len(ids(saver)) == 5


def test_the_newest_stays_the_newest_when_an_old_one_is_put_again(saver: HiveSaver) -> None:
    first = put(saver, "t")
    second = put(saver, "t", first)
    config = config_of("t", checkpoint_ns="")
    again: Any = {**empty_checkpoint(), "id": first}
    saver.put(config, again, {"source": "update", "step": 7}, {})
    newest, old = (
        saver.get_tuple(config_of("t")),
        saver.get_tuple(config_of("t", checkpoint_id=first)),
    )
    assert newest is not None
    assert newest.checkpoint["id"] == second
    assert old is not None
    assert old.metadata["step"] == 7


def test_a_checkpoint_may_be_put_again_behind_itself_or_a_later_one(saver: HiveSaver) -> None:
    first = put(saver, "t")
    second = put(saver, "t", first)
    for parent in (first, second):
        again: Any = {**empty_checkpoint(), "id": first}
        config = config_of("t", checkpoint_ns="", checkpoint_id=parent)
        saver.put(config, again, {"source": "update", "step": 7}, {})
        found = saver.get_tuple(config_of("t", checkpoint_id=first))
        assert found is not None
        assert found.parent_config is not None
        assert found.parent_config["configurable"]["checkpoint_id"] == parent
    assert ids(saver, "t") == [second, first]


def test_writes_stand_in_the_order_of_path_task_and_index(saver: HiveSaver) -> None:
    checkpoint = put(saver, "t")
    config = config_of("t", checkpoint_ns="", checkpoint_id=checkpoint)
    saver.put_writes(config, [("a", 1), ("b", 2)], "z", "~1")
    saver.put_writes(config, [("a", 3)], "y", "~2")
    saver.put_writes(config, [("a", "ignored"), ("c", "ignored")], "z", "~1")
    saver.put_writes(config, [("__error__", "first")], "x", "~3")
    saver.put_writes(config, [("__error__", ValueError("second"))], "x", "~3")
    found = saver.get_tuple(config)
    assert found is not None
    assert found.pending_writes == [
        ("z", "a", 1),
        ("z", "b", 2),
        ("y", "a", 3),
        ("x", "__error__", "ValueError('second')"),
    ]


@pytest.mark.parametrize(
    ("current", "following"),
    [
        (None, 1),
        (41, 42),
        (2.5, 3.0),
        (f"{7:032}.0.123", f"{8:032}"),
    ],
)
def test_versions_of_every_kind_go_up(current: Any, following: Any) -> None:
    assert next_version(current) == following
    assert current is None or next_version(current) > current
    with pytest.raises(InvalidInputError):
        next_version("v1")


@pytest.mark.parametrize(
    ("thread", "namespace"),
    [("a", ""), ("a", "b"), ("a/b", ""), ("a/b", "c"), ("a", "b/c"), ("a#1", ""), ("a/b#1", ""),
     ("", ""), ("", "x"), ("bob@3", "n:1|m:2"), ("#12", "#3"), ("tag:x", "")],
)  # fmt: skip
def test_threads_and_namespaces_never_run_together(thread: str, namespace: str) -> None:
    place = Place(thread, namespace)
    assert Place.of_run(place.run) == place


def test_names_that_look_alike_are_apart(saver: HiveSaver) -> None:
    for thread in ("a", "a/b#1", "a/b", "a%", "A"):
        put(saver, thread)
    saver.delete_thread("a")
    assert [len(ids(saver, thread)) for thread in ("a", "a/b#1", "a/b", "a%", "A")] == [
        0,
        1,
        1,
        1,
        1,
    ]
    with pytest.raises(InvalidInputError, match="control character"):
        put(saver, "nul\0")
    with pytest.raises(InvalidInputError, match="names no thread"):
        saver.get_tuple({"configurable": {}})


# -- interrupts, and dropping beside them ---------------------------------------------------------


def test_tools_that_finished_are_not_run_again_after_prune(saver: HiveSaver) -> None:
    ran: list[str] = []
    graph = tools_graph(saver, ran)
    graph.invoke({"results": []}, config_of())
    assert ran == ["a"]
    asked = graph.get_state(config_of()).interrupts
    assert sorted(item.value for item in asked) == ["may b?", "may c?"]
    saver.prune([config_of()["configurable"]["thread_id"]])
    saver.repository.gc(whole=True)
    first = next(item for item in asked if item.value == "may b?")
    graph.invoke(Command(resume={first.id: "yes"}), config_of())
    saver.prune([config_of()["configurable"]["thread_id"]])
    second = next(item for item in asked if item.value == "may c?")
    done = graph.invoke(Command(resume={second.id: "no"}), config_of())
    assert sorted(ran) == ["a", "b", "c"]
    assert done["results"] == ["planned", "a: alone", "b: yes", "c: no"]


def test_an_update_for_a_task_that_wrote_already_changes_nothing_of_that(saver: HiveSaver) -> None:
    """The history of a checkpoint shows what its tasks returned, as with LangGraph's savers."""
    shown = []
    for each in (InMemorySaver(), saver):
        graph = tools_graph(each, [])
        graph.invoke({"results": []}, config_of())
        before = graph.get_state(config_of()).config
        graph.update_state(config_of(), {"results": ["by hand"]}, as_node="tool")
        graph.update_state(before, {"results": ["again"]}, as_node="tool")
        found = each.get_tuple(before)
        assert found is not None
        assert found.pending_writes is not None
        shown.append(
            sorted(
                (name, str(value)) for _task, name, value in found.pending_writes if "_" not in name
            )
        )
    assert shown[0] == shown[1] != []


def test_prune_keeps_where_a_step_waits(saver: HiveSaver) -> None:
    """Another branch is the newest; the one that waits for an answer is still there."""
    ran: list[str] = []
    graph = tools_graph(saver, ran)
    graph.invoke({"results": []}, config_of("t"))
    waiting = graph.get_state(config_of("t")).config
    start = list(graph.get_state_history(config_of("t")))[-1].config
    graph.update_state(start, {"results": ["another way"]}, as_node="plan")
    graph.update_state(graph.get_state(config_of("t")).config, {"results": ["on"]}, as_node="tool")
    saver.prune(["t"])
    kept = [found.config["configurable"]["checkpoint_id"] for found in saver.list(config_of("t"))]
    assert waiting["configurable"]["checkpoint_id"] in kept
    assert len(kept) == 2


def test_pruned_and_collected_disk_holds_little_more_than_the_survivors(
    saver: HiveSaver, tmp_path: Path
) -> None:
    graph = chat_graph(saver)
    for turn in range(60):
        ask(graph, f"{turn} {os.urandom(300).hex()}")
    saver.prune(["chat"])
    repo = saver.repository
    repo.gc()
    repo.compact()
    repo.export(["chat"], tmp_path / "bundle")
    with Repository.open(tmp_path / "alone") as alone:
        alone.import_bundle(tmp_path / "bundle")
        alone.compact()
        assert repo.stats().disk_bytes <= 1.2 * alone.stats().disk_bytes
    assert len(ask(graph, "goes on")) == 244


def test_an_attribute_that_was_empty_is_seen_to_fill(saver: HiveSaver) -> None:
    """A message's empty attributes are left out, and something may be put into one in place."""
    messages = [AIMessage(f"m{at}", id=str(at)) for at in range(40)]
    for step in range(3):
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": messages}
        checkpoint["channel_versions"] = {"messages": step}
        config = config_of("chat", checkpoint_ns="")
        saver.put(config, checkpoint, {"source": "loop", "step": step}, {"messages": step})
        found = saver.get_tuple(config_of("chat"))
        assert found is not None
        assert found.checkpoint["channel_values"]["messages"] == messages
        messages[step].additional_kwargs["seen"] = step
        messages[step].tool_calls.append({"name": "x", "args": {}, "id": f"{step}"})


def test_prune_refuses_other_strategies(saver: HiveSaver) -> None:
    with pytest.raises(InvalidInputError, match="keep_latest or delete"):
        saver.prune(["t"], strategy="keep_all")


def test_one_text_is_no_list_of_ids(saver: HiveSaver) -> None:
    """Its characters may be the names of other threads."""
    for thread in "12":
        put(saver, thread, run_id=thread)
    with pytest.raises(InvalidInputError, match="thread_ids is a list"):
        saver.prune("12", strategy="delete")
    with pytest.raises(InvalidInputError, match="run_ids is a list"):
        saver.delete_for_runs("12")
    assert [len(ids(saver, thread)) for thread in "12"] == [1, 1]


def test_a_run_that_no_saver_made_is_no_thread(saver: HiveSaver) -> None:
    """An executor may keep its runs in the same store."""
    for number in range(3):
        saver.repository.commit("mine", {"number": number})
    saver.repository.tag("kept", "mine@1")
    saver.prune(["mine"])
    saver.prune(["mine"], strategy="delete")
    saver.delete_thread("mine")
    saver.copy_thread("mine", "copy")
    assert [found.sequence for found in saver.repository.log("mine")] == [3, 2, 1]
    assert [run.name for run in saver.repository.runs()] == ["mine"]


def test_deleting_a_thread_deletes_its_subgraphs(saver: HiveSaver) -> None:
    graph = nested_graph(saver)
    graph.invoke({"log": ["in"]}, config_of("t"))
    assert len(saver.repository.runs()) == 2
    graph.invoke(Command(resume="ok"), config_of("t"))
    saver.delete_thread("t")
    assert saver.repository.runs() == []
    assert saver.get_tuple(config_of("t")) is None


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


def nested_graph(saver: HiveSaver) -> Any:
    from langgraph.types import interrupt

    inner = StateGraph(Log)
    inner.add_node("ask", lambda _state: {"log": [f"told {interrupt('well?')}"]})
    inner.add_edge(START, "ask")
    outer = StateGraph(Log)
    outer.add_node("sub", inner.compile())
    outer.add_edge(START, "sub")
    return outer.compile(checkpointer=saver)


def test_subgraphs_resume_and_show_their_state(saver: HiveSaver) -> None:
    graph = nested_graph(saver)
    graph.invoke({"log": ["in"]}, config_of("t"))
    state = graph.get_state(config_of("t"), subgraphs=True)
    assert state.tasks[0].state.values == {"log": ["in"]}
    saver.prune(["t"])
    assert graph.invoke(Command(resume="ok"), config_of("t"))["log"] == ["in", "in", "told ok"]


# -- delta channels -------------------------------------------------------------------------------


def filled(saver: HiveSaver, turns: int) -> tuple[Any, list[str]]:
    graph = delta_graph(saver)
    for turn in range(turns):
        graph.invoke({"n": turn, "log": [f"in {turn}"]}, config_of("t"))
    log = graph.get_state(config_of("t")).values["log"]
    assert len(log) == 3 * turns
    return graph, log


@pytest.mark.parametrize("turns", range(1, 8))
def test_delta_channels_survive_prune(saver: HiveSaver, turns: int) -> None:
    graph, log = filled(saver, turns)
    saver.prune(["t"])
    saver.repository.gc(whole=True)
    assert len(ids(saver, "t")) == 1
    assert graph.get_state(config_of("t")).values["log"] == log
    graph.invoke({"n": 9, "log": ["more"]}, config_of("t"))
    assert graph.get_state(config_of("t")).values["log"][: len(log)] == log


def test_delta_channels_survive_copying_and_the_source_s_end(saver: HiveSaver) -> None:
    graph, log = filled(saver, 5)
    objects = saver.repository.stats().objects
    saver.copy_thread("t", "copy")
    assert saver.repository.stats().objects == objects
    assert ids(saver, "copy") == ids(saver, "t")
    with pytest.raises(ConflictError):
        saver.copy_thread("t", "copy")
    saver.delete_thread("t")
    saver.repository.gc(whole=True)
    assert graph.get_state(config_of("copy")).values["log"] == log
    assert [s.values["log"] for s in graph.get_state_history(config_of("copy"))][-1] == []


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
def test_delta_channels_survive_the_deletion_of_earlier_runs(saver: HiveSaver, gone: int) -> None:
    graph = delta_graph(saver)
    names = [f"run-{turn}" for turn in range(4)]
    for turn, name in enumerate(names):
        config = {**config_of("t"), "metadata": {"run_id": name}}
        graph.invoke({"n": turn, "log": [f"in {turn}"]}, config)
    log = graph.get_state(config_of("t")).values["log"]
    saver.delete_for_runs([names[gone]])
    saver.repository.gc(whole=True)
    assert {found.metadata["run_id"] for found in saver.list(config_of("t"))} == set(names) - {
        names[gone]
    }
    now = graph.get_state(config_of("t")).values["log"]
    assert now == (log if gone < 3 else log[:9])
    saver.delete_for_runs(names)
    assert ids(saver, "t") == []
    assert saver.repository.runs() == []
    assert saver.repository.gc(whole=True).objects_kept == 0


def test_the_history_is_what_the_base_class_finds(saver: HiveSaver) -> None:
    filled(saver, 3)
    base: Any = super(HiveSaver, saver)
    for found in saver.list(config_of("t")):
        mine = saver.get_delta_channel_history(config=found.config, channels=["log", "none"])
        assert mine == base.get_delta_channel_history(config=found.config, channels=["log", "none"])
    assert saver.get_delta_channel_history(config=config_of("nobody"), channels=["log"]) == {
        "log": {"writes": []}
    }


def test_an_error_in_the_history_names_thread_checkpoint_and_channel(tmp_path: Path) -> None:
    @dataclasses.dataclass
    class Own:
        field: int

    config: Any = config_of("t", checkpoint_ns="")
    with HiveSaver(tmp_path, types={"own": Own}) as saver:
        first = put(saver, "t")
        config["configurable"]["checkpoint_id"] = first
        saver.put_writes(config, [("log", Own(1)), ("other", "sound")], "task")
        config["configurable"]["checkpoint_id"] = second = put(saver, "t", first)
        found = saver.get_delta_channel_history(config=config, channels=["log"])
        assert found == {"log": {"writes": [("task", "log", Own(1))]}}
    with HiveSaver(tmp_path) as saver:
        found = saver.get_delta_channel_history(config=config, channels=["other"])
        assert found == {"other": {"writes": [("task", "other", "sound")]}}
        with pytest.raises(
            InvalidInputError, match=rf"thread 't', checkpoint {second}: channel 'log': .*'own'"
        ):
            saver.get_delta_channel_history(config=config, channels=["other", "log"])


def test_a_long_thread_is_listed_whole(saver: HiveSaver) -> None:
    last, made = None, []
    for _ in range(70):
        last = put(saver, "long", last)
        made.append(last)
    assert ids(saver, "long") == made[::-1]
    below = config_of("long", checkpoint_id=made[40])
    found = saver.list(config_of("long"), before=below)
    assert [each.checkpoint["id"] for each in found] == made[39::-1]


def test_a_cancelled_save_is_waited_for_and_still_cancelled(
    saver: HiveSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancels it knows afterwards that it happened."""
    begun, released = threading.Event(), threading.Event()
    commit = saver.repository.commit

    def slow(*given: Any, **more: Any) -> Checkpoint:
        begun.set()
        assert released.wait(60)
        return commit(*given, **more)

    async def cancel() -> None:
        checkpoint = empty_checkpoint()
        config = config_of("t", checkpoint_ns="")
        saving = asyncio.create_task(saver.aput(config, checkpoint, {"source": "loop"}, {}))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        saving.cancel()
        await asyncio.sleep(0.01)
        assert not saving.done()
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await saving
        assert ids(saver, "t") == [checkpoint["id"]]

    monkeypatch.setattr(saver.repository, "commit", slow)
    asyncio.run(cancel())


# -- retention ------------------------------------------------------------------------------------


def test_retention_is_applied_in_the_background(tmp_path: Path) -> None:
    policy = RetentionPolicy(keep_last=3, mode="prune_old")
    with HiveSaver(tmp_path, retention=policy) as saver:
        graph = chat_graph(saver)
        for turn in range(12):
            ask(graph, str(turn))
        saver.flush()
        assert len(ids(saver)) == 3
        assert len(ask(graph, "goes on")) == 52


def test_a_thread_that_is_never_flushed_stays_small(tmp_path: Path) -> None:
    policy = RetentionPolicy(keep_last=3, mode="prune_old")
    with HiveSaver(tmp_path, retention=policy) as saver:
        last = None
        for _ in range(50):
            last = put(saver, "t", last)
        saver._upkeep._thread.join(saver._upkeep)
        assert len(ids(saver, "t")) <= 3 + 16


def test_an_upkeep_that_fails_is_told_to_the_log_and_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_given: Any, **_more: Any) -> None:
        raise StoreFullError("no room is left")

    policy = RetentionPolicy(keep_last=3, mode="prune_old")
    with HiveSaver(tmp_path, retention=policy) as saver:
        last = None
        with monkeypatch.context() as patch:
            patch.setattr(saver.repository, "forget", failing)
            for _ in range(20):
                last = put(saver, "t", last)
            saver._upkeep._thread.join(saver._upkeep)
        assert "upkeep of the checkpoints was not done: no room is left" in caplog.text
        assert len(ids(saver, "t")) == 20
        saver.flush()
        assert len(ids(saver, "t")) == 3


@pytest.mark.parametrize(
    "rules",
    [
        {"retention": "prune_old"},
        {"ttl": 30},
        {"ttl": dt.timedelta(days=-3)},
        {"ttl": dt.timedelta()},
        {"compact": "no"},
        {"fencing": "yes"},
        {"trust_identity": 1},
        {"clock": 5},
        {"serde": 5},
        {"serde": ""},
        {"serde": JsonPlusSerializer},
    ],
)
def test_rules_that_cannot_be_applied_are_refused_at_once(
    tmp_path: Path, rules: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError, match=rf"^{next(iter(rules))} is a"):
        HiveSaver(tmp_path / "home", **rules)
    assert not (tmp_path / "home").exists()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    saver = HiveSaver(tmp_path, ttl=dt.timedelta(days=1), retention=RetentionPolicy())
    put(saver, "t")
    saver.close()
    saver.close()
    saver.flush()


def test_threads_that_nobody_extends_are_deleted(tmp_path: Path) -> None:
    now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    with HiveSaver(tmp_path, ttl=dt.timedelta(days=7), compact=True, clock=lambda: now) as saver:
        put(saver, "old")
        put(saver, "old and tagged")
        saver.repository.tag("keep", "old and tagged")
        now += dt.timedelta(days=5)
        put(saver, "young")
        now += dt.timedelta(days=3)
        saver.flush()
        names = [info.name for info in saver.repository.runs()]
        assert names == ["old and tagged", "young"]


def test_a_thread_that_is_extended_before_it_is_deleted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    with HiveSaver(tmp_path, ttl=dt.timedelta(days=7), clock=lambda: now) as saver:
        begun = put(saver, "in use again")
        put(saver, "old")
        now += dt.timedelta(days=9)
        write = saver.repository.delete_unmoved

        def extended(heads: Sequence[Checkpoint]) -> int:
            if heads[0].run == "in use again":
                put(saver, "in use again", begun)
            return write(heads)

        monkeypatch.setattr(saver.repository, "delete_unmoved", extended)
        saver.flush()
        assert [info.name for info in saver.repository.runs()] == ["in use again"]
        assert len(ids(saver, "in use again")) == 2


def test_a_clock_that_was_put_back_does_not_stop_the_deletion(tmp_path: Path) -> None:
    now = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)
    with HiveSaver(tmp_path, ttl=dt.timedelta(days=7), clock=lambda: now) as saver:
        put(saver, "of the future")
        now = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
        put(saver, "old")
        now += dt.timedelta(days=8)
        put(saver, "young")
        saver._upkeep._thread.join(saver._upkeep)
        assert [info.name for info in saver.repository.runs()] == ["of the future", "young"]


# -- fencing --------------------------------------------------------------------------------------


def test_two_workers_on_one_thread_are_told(tmp_path: Path) -> None:
    with HiveSaver(tmp_path, fencing=True) as one, HiveSaver(tmp_path, fencing=True) as other:
        start = put(one, "t")
        for worker in (one, other):
            assert worker.get_tuple(config_of("t")) is not None
        put(one, "t", start)
        with pytest.raises(ConflictError, match="thread 't'"):
            put(other, "t", start)
        assert len(ids(other, "t")) == 2


def test_fencing_lets_travellers_branch(tmp_path: Path) -> None:
    with HiveSaver(tmp_path, fencing=True) as saver:
        graph = chat_graph(saver)
        ask(graph, "one")
        history = list(graph.get_state_history(config_of("chat")))
        graph.update_state(history[2].config, {"messages": [HumanMessage("instead", id="x")]})
        result = graph.invoke(None, history[-1].config)
        assert result["messages"][-1].content.startswith("found yes: about one")
        ask(graph, "two")


def test_fencing_lets_copies_be_made(tmp_path: Path) -> None:
    with HiveSaver(tmp_path, fencing=True) as saver:
        graph = chat_graph(saver)
        ask(graph, "one")
        for old in list(graph.get_state_history(config_of("chat")))[1::-1]:
            copied = graph.update_state(old.config, None, as_node="__copy__")
            assert graph.get_state(config_of("chat")).config == copied
            assert graph.get_state(copied).values == old.values
        assert len(ask(graph, "two")) == 8


def test_a_copy_holds_what_it_was_made_of_though_that_is_gone(tmp_path: Path) -> None:
    """It stands behind another checkpoint, which is the newest then, and names no change."""
    with HiveSaver(tmp_path) as saver, HiveSaver(tmp_path) as other:

        def save(
            saver: HiveSaver, parent: Any, log: list[str], source: str, new_versions: dict[str, Any]
        ) -> Any:
            made = empty_checkpoint()
            made["channel_values"], made["channel_versions"] = {"log": log}, {"log": len(log)}
            return saver.put(parent, made, {"source": source, "step": 1}, new_versions)  # type: ignore[typeddict-item]

        first = save(saver, config_of("t", checkpoint_ns=""), ["a"], "loop", {"log": 1})
        second = save(other, first, ["a", "b"], "loop", {"log": 2})
        other.repository.withdraw("t", [second["configurable"]["checkpoint_id"]])
        found = saver.get_tuple(save(saver, first, ["a", "b"], "fork", {}))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"log": ["a", "b"]}


def test_of_too_many_journeys_the_one_begun_longest_ago_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fencing, "_MOST", 3)
    journeys = fencing.Journeys()
    for place in "abcad":
        journeys.begin("t", place)
    assert [place for place in "abcd" if journeys.may_branch("t", place)] == ["a", "c", "d"]
    assert not journeys.may_branch("other", "a")
    assert not journeys.may_branch("t", None)


def test_without_fencing_nothing_is_lost(tmp_path: Path) -> None:
    with HiveSaver(tmp_path) as one, HiveSaver(tmp_path) as other:
        start = put(one, "t")
        made = [put(worker, "t", start) for worker in (one, other, one, other)]
        assert ids(one, "t") == sorted([start, *made], reverse=True)


def test_many_threads_share_one_saver(saver: HiveSaver) -> None:
    graph = chat_graph(saver)
    results: dict[int, int] = {}

    def work(number: int) -> None:
        for turn in range(3):
            results[number] = len(ask(graph, f"{turn}", f"thread {number}"))

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(results.values()) == {12}


@pytest.mark.parametrize("thread", ["a\nb", "x" * 1_025])
def test_a_thread_id_that_cannot_be_a_name_is_called_so(saver: HiveSaver, thread: str) -> None:
    for use in (saver.get_tuple, lambda config: put(saver, thread), lambda c: list(saver.list(c))):
        with pytest.raises(InvalidInputError, match="thread_id"):
            use(config_of(thread))
    with pytest.raises(InvalidInputError, match="thread_id"):
        saver.delete_thread(thread)


def test_all_threads_are_listed_newest_first_and_no_more_is_read_than_asked_for(
    saver: HiveSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [put(saver, f"thread {number % 4}") for number in range(12)][::-1]
    before: Any = config_of("any", checkpoint_id=made[5])

    def listed(**more: Any) -> list[str]:
        return [found.checkpoint["id"] for found in saver.list(None, **more)]

    assert listed() == made
    assert listed(before=before) == made[6:]
    assert listed(before=before, limit=2) == made[6:8]
    looks: list[str] = []
    keys = saver.repository.keys

    def counted(run: str, **more: Any) -> list[str]:
        looks.append(run)
        return keys(run, **more)

    monkeypatch.setattr(saver.repository, "keys", counted)
    assert listed(limit=1) == made[:1]
    assert set(looks) <= {"thread 3"}


def test_a_namespace_that_is_too_long_is_called_so(saver: HiveSaver) -> None:
    with pytest.raises(InvalidInputError, match="a thread_id with its checkpoint_ns has 1 to 1024"):
        saver.get_tuple(config_of("t", checkpoint_ns="x" * 1_024))


def test_arguments_that_cannot_be_used_are_refused(saver: HiveSaver, tmp_path: Path) -> None:
    wrong: list[Any] = [[5], 5, {"five": 5}]
    for types in wrong:
        with pytest.raises(InvalidInputError, match="class"):
            HiveSaver(tmp_path / "other", types=types)
    with pytest.raises(InvalidInputError, match="home is an int"):
        HiveSaver(wrong[1])
    with pytest.raises(InvalidInputError, match="limit"):
        ids(saver, limit=-1)


NUMBER: Any = 5
ODD_CALLS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "prune nothing": ("prune", (None,), {}),
    "prune nobody": ("prune", ([None],), {}),
    "runs of nothing": ("delete_for_runs", (None,), {}),
    "delete nobody": ("delete_thread", (None,), {}),
    "copy nobody": ("copy_thread", (None, "t"), {}),
    "copy to nobody": ("copy_thread", ("t", None), {}),
    "get a text": ("get_tuple", ("t",), {}),
    "get nothing": ("get_tuple", (None,), {}),
    "get no dict": ("get_tuple", ({"configurable": "t"},), {}),
    "get of none": ("get_tuple", ({"configurable": None},), {}),
    "get a number": ("get_tuple", (config_of("t", checkpoint_id=NUMBER),), {}),
    "get in a number": ("get_tuple", (config_of("t", checkpoint_ns=NUMBER),), {}),
    "put at a text": ("put", ("t", empty_checkpoint(), {}, {}), {}),
    "write at a text": ("put_writes", ("t", [], "task"), {}),
    "list a text": ("list", ("t",), {}),
    "list before a text": ("list", (None,), {"before": "t"}),
    "list by a text": ("list", (None,), {"filter": "t"}),
    "history at a text": ("get_delta_channel_history", (), {"config": "t", "channels": []}),
    "history of a text": (
        "get_delta_channel_history",
        (),
        {"config": config_of("t"), "channels": "log"},
    ),
}


@pytest.mark.parametrize("call", ODD_CALLS.values(), ids=ODD_CALLS)
def test_a_call_that_makes_no_sense_is_refused(
    saver: HiveSaver, call: tuple[str, tuple[Any, ...], dict[str, Any]]
) -> None:
    name, arguments, options = call
    put(saver, "None")

    def use() -> None:
        result = getattr(saver, name)(*arguments, **options)
        if name == "list":
            list(result)

    async def use_async() -> None:
        result = getattr(saver, f"a{name}")(*arguments, **options)
        if name == "list":
            _ = [each async for each in result]
        else:
            await result

    with pytest.raises(InvalidInputError, match=" is a "):
        use()
    with pytest.raises(InvalidInputError, match=" is a "):
        asyncio.run(use_async())
    assert len(ids(saver, "None")) == 1


def test_no_thread_is_shared_by_all_who_name_none(saver: HiveSaver) -> None:
    """A server that was sent no id passes None."""
    nobody: Any = None
    with pytest.raises(InvalidInputError, match="the config names no thread"):
        chat_graph(saver).invoke({"messages": [HumanMessage("x")]}, config_of(nobody))
    assert list(saver.list(None)) == []
