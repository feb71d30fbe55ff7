"""Importing threads from the databases of LangGraph's own savers."""

from __future__ import annotations

import dataclasses
import operator
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import ormsgpack
import pydantic
import pytest
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import InvalidUpdateError
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Send, interrupt
from typing_extensions import TypedDict

from hive.adapters.langgraph import HiveSaver
from hive.adapters.langgraph.importing import import_threads
from hive.errors import CorruptStoreError, InvalidInputError, NotFoundError
from tests.hive.command_line import hive
from tests.hive.langgraph.graphs import (
    chat_graph,
    config_of,
    delta_graph,
    random_graph,
    tools_graph,
)


def fill(saver: Any) -> None:
    """Threads of several kinds, one of which waits for answers."""
    for thread in ("one", "two"):
        graph = chat_graph(saver)
        for turn in range(8):
            graph.invoke({"messages": [HumanMessage(f"{turn}", id=f"q{turn}")]}, config_of(thread))
    tools_graph(saver, []).invoke({"results": []}, config_of("waits"))
    for turn in range(5):
        delta_graph(saver).invoke({"n": turn, "log": ["in"]}, config_of("delta"))
    for seed in range(3):
        with suppress(InvalidUpdateError):  # of two tasks that write the same
            random_graph(saver, seed).invoke({"n": 0, "log": []}, config_of(f"random {seed}"))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    file = tmp_path / "check points?.db"
    with closing(sqlite3.connect(file, check_same_thread=False)) as connection:
        fill(SqliteSaver(connection))
    return file


def tuples(saver: Any, thread: str) -> list[Any]:
    return [
        (found.config, found.checkpoint, found.metadata, found.parent_config, found.pending_writes)
        for found in saver.list(config_of(thread))
    ]


def assert_same(saver: Any, source: Any) -> None:
    for thread in ("one", "two", "waits", "delta", "random 0", "random 1", "random 2"):
        assert tuples(saver, thread) == tuples(source, thread)


def test_everything_comes_along_and_the_source_stays_as_it_was(
    database: Path, tmp_path: Path
) -> None:
    before = database.read_bytes()
    report = import_threads(f"sqlite:///{database}", tmp_path / "home")
    assert database.read_bytes() == before
    assert report.problems == []
    assert (report.threads, report.known) == (7, 0)
    with HiveSaver(tmp_path / "home") as saver, closing(sqlite3.connect(database)) as connection:
        source = SqliteSaver(connection)
        assert_same(saver, source)
        assert report.checkpoints == len(list(source.list(None)))
        newest, oldest = saver.repository.log("one")[0], saver.repository.log("one")[-1]
        assert oldest.created_at < newest.created_at
        assert newest.created_at.isoformat() == saver.get_tuple(config_of("one")).checkpoint["ts"]  # type: ignore[union-attr]
        assert saver.repository.check().ok


def test_threads_go_on_where_they_were(database: Path, tmp_path: Path) -> None:
    import_threads(f"sqlite:///{database}", tmp_path / "home")
    with HiveSaver(tmp_path / "home") as saver:
        result = chat_graph(saver).invoke(
            {"messages": [HumanMessage("more", id="x")]}, config_of("one")
        )
        assert len(result["messages"]) == 36
        ran: list[str] = []
        graph = tools_graph(saver, ran)
        asked = graph.get_state(config_of("waits")).interrupts
        graph.invoke(Command(resume={item.id: "yes" for item in asked}), config_of("waits"))
        assert sorted(ran) == ["b", "c"]
        log = delta_graph(saver).get_state(config_of("delta")).values["log"]
        assert len(log) == 15
        saver.prune(["delta"])
        assert delta_graph(saver).get_state(config_of("delta")).values["log"] == log


def test_what_was_pruned_since_does_not_come_back_in_parts(database: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{database}"
    import_threads(url, tmp_path / "home", threads=["delta"])
    with HiveSaver(tmp_path / "home") as saver:
        values = delta_graph(saver).get_state(config_of("delta")).values
        saver.prune(["delta"])
    again = import_threads(url, tmp_path / "home", threads=["delta"])
    assert (again.checkpoints, again.problems) == (0, [])
    with HiveSaver(tmp_path / "home") as saver:
        assert len(tuples(saver, "delta")) == 1
        assert delta_graph(saver).get_state(config_of("delta")).values == values
        assert saver.repository.check().ok


def test_a_thread_that_is_not_there_is_an_error(database: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(NotFoundError, match="has no thread 'tow'"):
        import_threads(f"sqlite:///{database}", home, threads=["one", "tow"])
    assert not home.exists()


def test_it_can_be_repeated_and_goes_on(database: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{database}"

    class StopSignal(Exception):  # noqa: N818
        pass

    def stop(progress: Any) -> None:
        if progress.done == 20:
            raise StopSignal

    with pytest.raises(StopSignal):
        import_threads(url, tmp_path / "home", progress=stop)
    second = import_threads(url, tmp_path / "home", threads=["one"])
    third = import_threads(url, tmp_path / "home", compact=True)
    assert second.known + third.known >= 20
    fourth = import_threads(url, tmp_path / "home")
    assert (fourth.checkpoints, fourth.writes) == (0, 0)
    with HiveSaver(tmp_path / "home") as saver, closing(sqlite3.connect(database)) as connection:
        assert_same(saver, SqliteSaver(connection))


def test_what_cannot_be_read_is_named_and_the_rest_comes(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(
            "UPDATE checkpoints SET type = 'pickle' WHERE rowid IN "
            "(SELECT rowid FROM checkpoints WHERE thread_id = 'one' ORDER BY checkpoint_id LIMIT 1)"
        )
        connection.commit()
    ran = hive(
        "import-langgraph", f"sqlite:///{database}", "--home", str(tmp_path / "home"), "--json"
    )
    assert ran.code == 5
    assert len(ran.json["problems"]) == 1
    assert "thread 'one', checkpoint " in ran.json["problems"][0]
    assert "could run code" in ran.json["problems"][0]
    assert ran.json["checkpoints"] > 90
    again = hive("import-langgraph", f"sqlite:///{database}", "--home", str(tmp_path / "home"))
    assert again.code == 5
    assert "known before" in again.output


def test_without_a_checkpoint_that_can_be_read_no_store_is_made(
    database: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE checkpoints SET type = 'pickle' WHERE thread_id = 'one'")
        connection.commit()
    report = import_threads(f"sqlite:///{database}", home, threads=["one"], compact=True)
    assert (report.threads, report.checkpoints, len(report.problems)) == (1, 0, 40)
    assert (report.bytes_before, report.bytes_after) == (0, 0)
    assert not home.exists()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM checkpoints")
        connection.commit()
    assert hive("import-langgraph", f"sqlite:///{database}", "--home", str(home)).code == 0
    assert not home.exists()


def changed(database: Path, thread: str, change: Any) -> None:
    """Change what is stored of the first checkpoint of a thread."""
    with closing(sqlite3.connect(database)) as connection:
        row, data = connection.execute(
            "SELECT rowid, checkpoint FROM checkpoints WHERE thread_id = ? ORDER BY checkpoint_id",
            [thread],
        ).fetchone()
        held = ormsgpack.unpackb(data, ext_hook=ormsgpack.Ext)
        change(held)
        connection.execute(
            "UPDATE checkpoints SET checkpoint = ? WHERE rowid = ?", [ormsgpack.packb(held), row]
        )
        connection.commit()


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held.pop("id"),
        lambda held: held.pop("channel_versions"),
        lambda held: held.update(channel_values=5),
        lambda held: held.update(versions_seen={"agent": 5}),
        lambda held: held.update(updated_channels="log"),
        lambda held: held.update(ts=None),
    ],
    ids=["no id", "no versions", "no values", "nothing seen", "a text", "no moment"],
)
def test_a_checkpoint_of_another_shape_is_named_and_the_rest_comes(
    database: Path, tmp_path: Path, change: Any
) -> None:
    changed(database, "one", change)
    report = import_threads(f"sqlite:///{database}", tmp_path / "home", threads=["one"])
    assert (report.checkpoints, len(report.problems)) == (39, 1)
    assert "makes no sense" in report.problems[0]


def test_what_only_a_damaged_database_holds_is_named(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE writes SET channel = x'00' WHERE thread_id = 'waits'")
        connection.execute("UPDATE checkpoints SET metadata = '[]' WHERE thread_id = 'two'")
        connection.execute(
            "UPDATE checkpoints SET checkpoint_id = CAST(checkpoint_id AS BLOB) "
            "WHERE thread_id = 'delta'"
        )
        connection.execute(
            "UPDATE checkpoints SET checkpoint_id = '' WHERE checkpoint_id = "
            "(SELECT min(checkpoint_id) FROM checkpoints WHERE thread_id = 'one')"
        )
        connection.commit()
    for thread in ("waits", "two", "delta", "one"):
        home = tmp_path / thread
        report = import_threads(f"sqlite:///{database}", home, threads=[thread])
        assert "makes no sense" in report.problems[0]
        assert report.checkpoints or thread != "one", "one without an id keeps no other back"


def test_a_thread_that_cannot_have_its_name_here_keeps_no_other_back(
    database: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE checkpoints SET thread_id = 'a\nb' WHERE thread_id = 'one'")
        connection.commit()
    report = import_threads(f"sqlite:///{database}", tmp_path / "home")
    assert report.problems == [r"thread 'a\nb': the thread_id has a control character"]
    with HiveSaver(tmp_path / "home") as saver:
        assert "two" in saver.repository.keyed_runs()


def test_a_home_that_cannot_be_used_is_no_problem_of_each_checkpoint(
    database: Path, tmp_path: Path
) -> None:
    (tmp_path / "home" / "objects").mkdir(parents=True)
    (tmp_path / "home" / "objects" / "thesis.txt").touch()
    with pytest.raises(InvalidInputError, match="holds no store"):
        import_threads(f"sqlite:///{database}", tmp_path / "home")


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(NotFoundError, match="no file"):
        import_threads(f"sqlite:///{tmp_path}/none", tmp_path / "home")
    for name in ("empty", "text"):
        with pytest.raises(InvalidInputError, match="holds no checkpoints"):
            import_threads(f"sqlite:///{tmp_path / name}", tmp_path / "home")
    for url in ("mysql://x", "sqlite://", "sqlite:///"):
        with pytest.raises(InvalidInputError, match="write sqlite:///FILE"):
            import_threads(url, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_package_that_is_missing_is_named_as_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.checkpoint.sqlite", None)
    with pytest.raises(InvalidInputError, match="pip install langgraph-checkpoint-sqlite"):
        import_threads(f"sqlite:///{tmp_path}/none", tmp_path / "home")


def test_a_server_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.postgres")
    with pytest.raises(InvalidInputError, match="the database cannot be opened") as caught:
        import_threads(f"postgresql:///x?host={tmp_path}", tmp_path / "home")
    assert "\n" not in str(caught.value)


# -- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[str]:
    """A server of this test alone, on a socket in a folder of its own."""
    pytest.importorskip("langgraph.checkpoint.postgres")
    programs = [shutil.which(name) for name in ("initdb", "postgres", "pg_isready")]
    if None in programs:
        pytest.skip("PostgreSQL is not installed")
    # Not pytest's folder, which it closes to other users; and a socket's path has to be short.
    folder = Path(tempfile.mkdtemp(prefix="hive-pg-"))
    as_user = []
    if os.getuid() == 0:  # which PostgreSQL refuses to be
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        shutil.chown(folder, "nobody", "nogroup")
    try:
        yield from _serving(folder, as_user)
    finally:
        shutil.rmtree(folder)


def _serving(folder: Path, as_user: list[str]) -> Iterator[str]:
    data = folder / "data"

    def command(*words: str) -> list[str]:
        return [*as_user, *words]

    initdb = command("initdb", "-D", str(data), "-U", "tester", "--auth=trust", "--no-sync")
    subprocess.run(initdb, check=True, capture_output=True, cwd="/")
    options = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            command("postgres", "-D", str(data), *options),
            stdout=log,
            stderr=log,
            cwd="/",
        )
    try:
        ready = ["pg_isready", "-q", "-h", str(folder), "-U", "tester"]
        for _ in range(600):
            if subprocess.run(ready, check=False).returncode == 0:
                break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(60)


def test_postgres_comes_along(server: str, tmp_path: Path) -> None:
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(server) as source:
        source.setup()
        fill(source)
        report = import_threads(server, tmp_path / "home")
        assert report.problems == []
        assert report.threads == 7
        with HiveSaver(tmp_path / "home") as saver:
            assert_same(saver, source)
            assert saver.repository.check().ok
        assert import_threads(server, tmp_path / "home").checkpoints == 0


class Order(pydantic.BaseModel):
    number: int


@dataclasses.dataclass
class Line:
    order: Order


def _joined(old: list[Any], new: Sequence[list[Any]]) -> list[Any]:
    return [*old, *chain.from_iterable(new)]


class Orders(TypedDict):
    orders: Annotated[list[Any], DeltaChannel(_joined, snapshot_frequency=2)]
    lines: Annotated[list[Any], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]


def orders_graph(saver: Any) -> Any:
    """States with classes of the application, also in messages, sends, snapshots and writes."""

    def order(state: Orders) -> dict[str, Any]:
        number = len(state.get("lines", []))
        made = Order(number=number)
        called = ToolMessage("done", tool_call_id="c", artifact=made, id=f"m{number}")
        return {"orders": [made], "lines": [Line(made)], "messages": [called]}

    def check(given: dict[str, Any]) -> dict[str, Any]:
        return {"lines": [interrupt({"order": given["order"]})]}

    builder: Any = StateGraph(Orders)
    builder.add_node("order", order)
    builder.add_node("check", check)
    builder.add_edge(START, "order")
    builder.add_conditional_edges(
        "order", lambda state: [Send("check", {"order": state["lines"][-1]})], ["check"]
    )
    return builder.compile(checkpointer=saver)


def test_classes_that_nobody_named_are_not_lost(tmp_path: Path) -> None:
    file = tmp_path / "checkpoints.db"
    with closing(sqlite3.connect(file, check_same_thread=False)) as connection:
        source = SqliteSaver(
            connection, serde=JsonPlusSerializer(allowed_msgpack_modules=[Order, Line])
        )
        graph = orders_graph(source)
        for _ in range(3):
            graph.invoke({"lines": []}, config_of())
        expected = [
            (state.values, state.next, [task.interrupts for task in state.tasks])
            for state in graph.get_state_history(config_of())
        ]
    assert import_threads(f"sqlite:///{file}", tmp_path / "home").problems == []
    with HiveSaver(tmp_path / "home", types=[Order, Line]) as saver:
        found = [
            (state.values, state.next, [task.interrupts for task in state.tasks])
            for state in orders_graph(saver).get_state_history(config_of())
        ]
        assert found == expected
    with HiveSaver(tmp_path / "home") as saver:
        lines = orders_graph(saver).get_state(config_of()).values["lines"]
        assert lines == [{"order": {"number": number}} for number in range(3)]


def test_an_import_onto_a_disk_that_fails_stops_and_goes_on_later(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To pass over what it fails at would leave gaps in threads."""
    put, saved = HiveSaver.put, list[str]()

    def failing(saver: HiveSaver, *arguments: Any) -> Any:
        if len(saved) == 10:
            raise CorruptStoreError("the disk reports an input/output error")
        saved.append(arguments[1]["id"])
        return put(saver, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(HiveSaver, "put", failing)
        with pytest.raises(CorruptStoreError):
            import_threads(f"sqlite:///{database}", tmp_path / "home")
    report = import_threads(f"sqlite:///{database}", tmp_path / "home")
    assert (report.known, report.problems) == (10, [])
    with HiveSaver(tmp_path / "home") as saver, closing(sqlite3.connect(database)) as connection:
        assert_same(saver, SqliteSaver(connection))
