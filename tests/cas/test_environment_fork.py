"""Forking with an open store: the child opens it anew, and the parent notices nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import lmdb
import pytest

import cas.handle
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import InvalidInputError
from cas.generation import GENERATION_FILE
from cas.upkeep import upkeep_lock
from tests.cas.children import PROJECT, finish, in_child, start_child

ROWS = Table("rows")
TABLES = [ROWS]
MIB = 1 << 20


@pytest.fixture
def environment(home: Path) -> Iterator[Environment]:
    with Environment.open(home / "objects", TABLES, map_size=MIB) as opened:
        opened.write(partial(put, b"key", b"before"))
        yield opened


def put(key: bytes, value: bytes, tx: WriteTransaction) -> None:
    tx.put(ROWS, key, value)


def get(key: bytes, tx: ReadTransaction) -> bytes | None:
    return tx.get(ROWS, key)


def slots(environment: Environment) -> int:
    """How many reader slots this process has, with LMDB's own eyes."""
    handle = environment._handle
    assert handle is not None
    assert handle._database is not None
    rows = handle._database.lmdb.readers().splitlines()
    return sum(row.split()[0] == str(os.getpid()) for row in rows)


def use(environment: Environment, key: bytes) -> str:
    """Read and write as a child does."""
    value = environment.read(partial(get, b"key"))
    environment.write(partial(put, key, b"of the child"))
    return repr((value, environment.read(partial(get, key))))


USED = "+(b'before', b'of the child')"


def test_a_child_reads_and_writes(environment: Environment) -> None:
    assert in_child(partial(use, environment, b"child")) == USED
    assert environment.read(partial(get, b"child")) == b"of the child"
    environment.write(partial(put, b"key", b"after"))
    assert environment.read(partial(get, b"key")) == b"after"


def test_a_child_of_a_child_reads_and_writes(environment: Environment) -> None:
    assert in_child(lambda: in_child(partial(use, environment, b"grandchild"))) == "+" + USED
    assert environment.read(partial(get, b"grandchild")) == b"of the child"


def test_a_child_survives_its_parent_in_the_store(environment: Environment) -> None:
    """The child's handle must not depend on anything of the parent's."""
    go, gone = os.pipe()

    def child() -> str:
        use(environment, b"early")
        os.read(go, 1)
        return use(environment, b"late")

    running = start_child(child)
    environment.close()
    os.write(gone, b"!")
    assert finish(running) == USED


def test_a_fork_inside_a_read_leaves_the_parents_snapshot_alone(environment: Environment) -> None:
    def work(tx: ReadTransaction) -> tuple[str, bytes | None, int]:
        rows = tx.items(ROWS)
        next(rows)  # A cursor of its own, held by this frame in the child too.
        tx.get(ROWS, b"key")
        outcome = in_child(partial(use, environment, b"key"))
        return outcome, tx.get(ROWS, b"key"), slots(environment)

    assert environment.read(work) == ("+(b'before', b'of the child')", b"before", 1)
    assert environment.read(partial(get, b"key")) == b"of the child"
    assert slots(environment) == 0


def test_a_fork_inside_a_write_leaves_the_parents_transaction_alone(
    environment: Environment,
) -> None:
    def work(tx: WriteTransaction) -> str:
        tx.put(ROWS, b"parent", b"1")
        child = in_child(lambda: repr(environment.read(partial(get, b"key"))))
        tx.put(ROWS, b"more", b"2")
        return child

    assert environment.write(work) == "+b'before'"
    assert environment.read(lambda tx: tx.count(ROWS)) == 3


def test_a_child_of_a_write_waits_for_the_parents_commit(environment: Environment) -> None:
    children: list[tuple[int, int]] = []

    def work(tx: WriteTransaction) -> None:
        tx.put(ROWS, b"key", b"of the parent")
        children.append(start_child(partial(use, environment, b"child")))
        time.sleep(0.05)

    environment.write(work)
    assert finish(children[0]) in {USED, "+(b'of the parent', b'of the child')"}
    assert environment.read(partial(get, b"child")) == b"of the child"
    assert environment.read(partial(get, b"key")) == b"of the parent"


def test_a_child_cannot_use_or_commit_its_parents_transaction(environment: Environment) -> None:
    def in_write(tx: WriteTransaction) -> str:
        tx.put(ROWS, b"half", b"1")

        def child() -> str:
            for attempt in (tx.get, tx.delete):
                with pytest.raises(InvalidInputError, match="has ended"):
                    attempt(ROWS, b"key")
            with pytest.raises(InvalidInputError, match="has ended"):
                list(tx.items(ROWS))
            return "refused"

        return in_child(child)

    assert environment.write(in_write) == "+refused"
    assert environment.read(lambda tx: tx.count(ROWS)) == 2


def test_a_child_that_returns_from_the_parents_function(environment: Environment) -> None:
    """As a child does that raises, or falls through, instead of ending."""
    me = os.getpid()
    reader, writer = os.pipe()

    def forking(tx: ReadTransaction) -> str:
        if isinstance(tx, WriteTransaction):
            tx.put(ROWS, b"half", b"1")
        return "parent" if os.fork() else "child"

    for run in (environment.read, environment.write):
        result = "none"
        try:
            result = run(forking)
        except InvalidInputError as error:
            result = str(error)
        if os.getpid() != me:
            os.write(writer, f"{result}|{use(environment, b'child')}|".encode())
            os._exit(0)
        assert result == "parent"
        os.wait()
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        outcomes = pipe.read().split("|")
    assert outcomes[0] == "child"
    assert outcomes[2].endswith("only the parent can commit it")
    assert outcomes[1] == outcomes[3] == USED[1:]
    assert environment.read(lambda tx: tx.count(ROWS)) == 3
    assert slots(environment) == 0


def test_children_leak_no_reader_slots(environment: Environment) -> None:
    def fork_inside(tx: ReadTransaction) -> str:
        return in_child(partial(use, environment, b"child"))

    assert {environment.read(fork_inside) for _ in range(40)} == {USED}
    handle = environment._handle
    assert handle is not None
    assert handle._database is not None
    assert handle._database.lmdb.info()["num_readers"] < 10


def test_a_fork_waits_for_other_threads(environment: Environment) -> None:
    inside, order = threading.Event(), []

    def slow(tx: ReadTransaction) -> None:
        inside.set()
        time.sleep(0.2)
        order.append("thread")

    thread = threading.Thread(target=environment.read, args=(slow,))
    thread.start()
    inside.wait()
    assert in_child(partial(use, environment, b"child")) == USED
    order.append("fork")
    thread.join()
    assert order == ["thread", "fork"]


def test_a_fork_that_cannot_wait_gives_up_the_store_in_the_child(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cas.handle, "_FORK_WAIT_SECONDS", 0.05)
    inside, leave = threading.Event(), threading.Event()

    def stuck(tx: ReadTransaction) -> bytes | None:
        inside.set()
        leave.wait()
        return tx.get(ROWS, b"key")

    results: list[bytes | None] = []
    thread = threading.Thread(target=lambda: results.append(environment.read(stuck)))
    thread.start()
    inside.wait()
    outcome = in_child(lambda: repr(environment.read(partial(get, b"key"))))
    assert outcome.startswith("AccessError: this process was forked while another thread")
    assert "'spawn'" in outcome
    leave.set()
    thread.join()
    assert results == [b"before"]
    assert in_child(partial(use, environment, b"child")) == USED


def test_forks_amid_busy_threads(environment: Environment) -> None:
    """Sixteen threads read and write while the main thread forks: every child works."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                environment.write(partial(put, b"%d" % number, os.urandom(9000)))
                environment.read(partial(get, b"%d" % number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    try:
        outcomes = {in_child(partial(use, environment, b"child")) for _ in range(40)}
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert outcomes == {USED}
    assert failures == []
    assert slots(environment) == 0


def test_a_child_that_ends_normally_does_not_hang(home: Path) -> None:
    """Through the interpreter's own shutdown, which closes what is still referenced."""
    script = f"""
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pathlib import Path
import cas.handle
from cas.environment import Environment, Table
cas.handle._FORK_WAIT_SECONDS = 0.05
rows = Table("rows")
environment = Environment.open(Path({str(home / "objects")!r}), [rows])
inside, leave = threading.Event(), threading.Event()
def stuck(tx):
    tx.put(rows, b"key", b"value")
    inside.set()
    leave.wait()
thread = threading.Thread(target=environment.write, args=(stuck,))
thread.start()
inside.wait()
if os.fork() == 0:
    sys.exit(7)
status = os.wait()[1]
leave.set()
thread.join()
environment.close()
assert os.waitstatus_to_exitcode(status) == 7, status
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=PROJECT,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_with_nothing_open_opens_what_it_wants(home: Path) -> None:
    def child() -> str:
        with Environment.open(home / "objects", TABLES) as environment:
            environment.write(partial(put, b"key", b"before"))
            return use(environment, b"child")

    assert in_child(child) == USED


def test_lmdb_itself_refuses_the_inherited_handle(tmp_path: Path) -> None:
    """Why the child closes what it inherits: py-lmdb takes the file to be open in it as well."""
    with lmdb.open(str(tmp_path / "raw")) as raw:
        raw.sync()

        def child() -> str:
            with pytest.raises(lmdb.Error, match="already open in this process"):
                lmdb.open(str(tmp_path / "raw"))
            return "refused"

        assert in_child(child) == "+refused"


@pytest.mark.parametrize("opened_before", [False, True])
def test_what_a_library_prints_does_not_land_in_a_store_of_a_process_without_streams(
    environment: Environment, *, opened_before: bool
) -> None:
    path = environment.path

    def daemon() -> str:
        if opened_before:
            environment.write(partial(put, b"key", b"still with streams"))
        for number in range(3):
            os.close(number)
        with Environment.open(path, TABLES) as own:
            own.write(partial(put, b"key", b"without streams"))
            for number in range(3):
                with suppress(OSError):  # closed: nothing was opened since
                    os.write(number, b"warning: a library prints what nobody reads\n")
            own.write(partial(put, b"more", b"without streams"))
        return "done"

    assert in_child(daemon) == "+done"
    with Environment.open(path, TABLES) as again:
        assert again.read(partial(get, b"key")) == b"without streams"
        assert again.read(partial(get, b"more")) == b"without streams"


# -- locks -------------------------------------------------------------------------------------


def wait_for(pipe: int) -> str:
    return os.read(pipe, 1).decode()


def test_a_child_takes_no_lock_along(home: Path) -> None:
    """It would have them for as long as it lives: no gc or compaction could begin meanwhile."""
    path, children = home / "objects", list[tuple[int, int]]()
    waiting, go_on = os.pipe()

    def fork(_tx: object = None) -> None:
        children.append(start_child(partial(wait_for, waiting)))

    try:
        with Environment.open(path, TABLES, prepare=fork):
            with upkeep_lock(path, None):
                fork()
            with upkeep_lock(path, 0.0), open(path / GENERATION_FILE, "rb") as generation:
                fcntl.flock(generation, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.write(go_on, b"!" * len(children))
        assert [finish(child) for child in children] == ["+!", "+!"]


def test_a_child_ends_no_lock_of_its_parent(home: Path) -> None:
    path = home / "objects"
    with Environment.open(path, TABLES):

        def take() -> str:
            with upkeep_lock(path, 0.0):
                return "taken"

        with upkeep_lock(path, None):
            for _ in range(2):
                assert in_child(take).startswith("ConflictError")
        assert in_child(take) == "+taken"
