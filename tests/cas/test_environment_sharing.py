"""Several users of one store: handles, threads, processes, nested transactions, closing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

from cas.database import Database
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import ConflictError, InvalidInputError, ReadOnlyStoreError, StoreFullError
from cas.generation import TURNSTILE_FILE, GenerationLock
from cas.lockfile import MOST_READERS
from tests.cas.children import finish, in_child, start_child

ROWS = Table("rows")
BLOBS = Table("blobs", checked=False)
TABLES = [ROWS, BLOBS]
MIB = 1 << 20


@pytest.fixture
def path(home: Path) -> Path:
    return home / "objects"


@pytest.fixture
def environment(path: Path) -> Iterator[Environment]:
    with Environment.open(path, TABLES, map_size=MIB) as opened:
        opened.write(lambda tx: None)  # From the first write on, LMDB is open for writing.
        yield opened


def put(key: bytes, value: bytes, tx: WriteTransaction) -> None:
    tx.put(ROWS, key, value)


def get(key: bytes, tx: ReadTransaction) -> bytes | None:
    return tx.get(ROWS, key)


def count(tx: ReadTransaction) -> int:
    return tx.count(ROWS)


# -- one handle per process --------------------------------------------------------------------


def test_environments_of_one_path_share_what_they_write(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path.parent)
    with (
        Environment.open(path, TABLES) as one,
        Environment.open(tmp_path / "link" / "objects", TABLES) as other,
    ):
        one.write(partial(put, b"key", b"value"))
        assert other.read(partial(get, b"key")) == b"value"
        one.close()
        other.write(partial(put, b"key", b"again"))
        assert other.read(partial(get, b"key")) == b"again"


def test_a_later_user_may_bring_more_tables(path: Path) -> None:
    with Environment.open(path, [ROWS]) as one, Environment.open(path, [BLOBS]) as other:
        other.write(lambda tx: tx.put(BLOBS, b"key", b"blob"))
        assert one.read(lambda tx: tx.get(BLOBS, b"key")) == b"blob"
        assert one.read(count) == 0


def test_a_reader_shares_a_writers_handle_but_cannot_write(path: Path) -> None:
    with (
        Environment.open(path, TABLES) as writer,
        Environment.open(path, TABLES, read_only=True) as reader,
    ):
        writer.write(partial(put, b"key", b"value"))
        assert reader.read(partial(get, b"key")) == b"value"
        assert reader.read_only
        with pytest.raises(ReadOnlyStoreError, match="reading only"):
            reader.write(partial(put, b"key", b"other"))


def test_a_writer_upgrades_a_readers_handle(path: Path) -> None:
    Environment.open(path, TABLES).close()
    with Environment.open(path, TABLES, read_only=True) as reader:
        assert reader.read(count) == 0
        with Environment.open(path, TABLES) as writer:
            writer.write(partial(put, b"key", b"value"))
            assert reader.read(partial(get, b"key")) == b"value"
            with pytest.raises(ReadOnlyStoreError):
                reader.write(partial(put, b"key", b"other"))
        assert reader.read(partial(get, b"key")) == b"value"


def test_an_upgrade_waits_for_active_readers(path: Path) -> None:
    Environment.open(path, TABLES).close()
    order: list[str] = []
    with Environment.open(path, TABLES, read_only=True) as reader:

        def work(tx: ReadTransaction) -> int:
            thread.start()
            time.sleep(0.1)
            order.append("read")
            return tx.count(ROWS)

        def upgrade() -> None:
            with Environment.open(path, TABLES) as writer:
                order.append("open")
                writer.write(partial(put, b"key", b"value"))

        thread = threading.Thread(target=upgrade)
        assert reader.read(work) == 0
        thread.join()
        assert reader.read(count) == 1
    assert order == ["read", "open"]


def test_an_upgrade_inside_a_transaction_is_refused(path: Path) -> None:
    Environment.open(path, TABLES).close()
    with Environment.open(path, TABLES, read_only=True) as reader:
        with pytest.raises(InvalidInputError, match="end this one first"):
            reader.read(lambda tx: Environment.open(path, TABLES))
        assert reader.read(count) == 0
    with Environment.open(path, TABLES) as writer:
        writer.write(partial(put, b"key", b"value"))


def test_a_store_that_was_replaced_at_its_path_is_another_store(path: Path) -> None:
    with Environment.open(path, TABLES) as old:
        old.write(partial(put, b"key", b"old"))
        path.rename(path.with_name("aside"))
        with Environment.open(path, TABLES) as new:
            assert new.read(count) == 0
            new.write(partial(put, b"key", b"new"))
            assert old.read(partial(get, b"key")) == b"old"
        assert old.read(partial(get, b"key")) == b"old"
    with Environment.open(path, TABLES) as new:
        assert new.read(partial(get, b"key")) == b"new"


def test_two_stores_may_be_used_within_each_other(path: Path) -> None:
    with (
        Environment.open(path, TABLES, map_size=MIB) as one,
        Environment.open(path.with_name("other"), TABLES, map_size=MIB) as other,
    ):

        def outer(tx: WriteTransaction) -> int:
            tx.put(BLOBS, b"key", b"x" * 3 * MIB)
            other.write(lambda inner: inner.put(BLOBS, b"key", b"y" * 3 * MIB))
            return other.read(lambda inner: inner.count(BLOBS)) + tx.count(BLOBS)

        assert one.write(outer) == 2

        def crossed(tx: WriteTransaction) -> None:
            # The outer map fills up inside the inner transaction: the outer one must grow.
            other.write(lambda inner: tx.put(BLOBS, b"more", b"z" * 9 * MIB))

        one.write(crossed)
        assert one.read(lambda tx: tx.count(BLOBS)) == 2
        assert other.read(lambda tx: tx.count(BLOBS)) == 1


# -- nested transactions -----------------------------------------------------------------------


def test_a_read_inside_a_read_sees_the_same_snapshot(environment: Environment) -> None:
    def outer(tx: ReadTransaction) -> tuple[int, int, int]:
        writer = threading.Thread(target=lambda: environment.write(partial(put, b"key", b"")))
        writer.start()
        writer.join()
        inner = environment.read(lambda tx: environment.read(count))
        return tx.count(ROWS), inner, tx.count(ROWS)

    assert environment.read(outer) == (0, 0, 0)
    assert environment.read(count) == 1


def test_a_read_inside_a_write_sees_what_is_committed(environment: Environment) -> None:
    def outer(tx: WriteTransaction) -> tuple[int, int]:
        tx.put(ROWS, b"key", b"value")
        return tx.count(ROWS), environment.read(lambda tx: environment.read(count))

    assert environment.write(outer) == (1, 0)
    assert environment.read(count) == 1


@pytest.mark.parametrize("outer", ["read", "write"])
def test_a_write_inside_a_transaction_is_refused(environment: Environment, outer: str) -> None:
    run = environment.read if outer == "read" else environment.write

    def work(tx: ReadTransaction) -> None:
        environment.write(partial(put, b"key", b"value"))

    with pytest.raises(InvalidInputError, match="inside another transaction of the same thread"):
        run(work)
    environment.write(partial(put, b"key", b"value"))
    assert environment.read(count) == 1


def test_a_nested_read_does_not_wait_for_a_growing_writer(environment: Environment) -> None:
    started = threading.Event()

    def write() -> None:
        def work(tx: WriteTransaction) -> None:
            started.set()
            tx.put(BLOBS, b"key", b"x" * 3 * MIB)

        environment.write(work)

    writer = threading.Thread(target=write)

    def outer(tx: ReadTransaction) -> int:
        writer.start()
        started.wait()
        time.sleep(0.2)  # By now the writer waits for this transaction, to let the map grow.
        return sum(environment.read(count) for _ in range(3)) + tx.count(ROWS)

    assert environment.read(outer) == 0
    writer.join()
    assert environment.read(lambda tx: tx.count(BLOBS)) == 1


def test_readers_open_a_store_whose_writer_is_stopped(environment: Environment) -> None:
    """Stopped, as by Ctrl-Z, inside its transaction: whoever only reads must not wait for it."""

    def stop(tx: WriteTransaction) -> str:
        tx.put(ROWS, b"key", b"half")
        os.kill(os.getpid(), signal.SIGSTOP)
        return "continued"

    environment.write(partial(put, b"key", b"whole"))
    pid, reader = start_child(lambda: environment.write(stop))
    os.waitpid(pid, os.WUNTRACED)
    for read_only in (False, True):

        def look(read_only: bool = read_only) -> str:
            with Environment.open(environment.path, TABLES, read_only=read_only) as other:
                return repr(other.read(partial(get, b"key")))

        assert in_child(look) == "+b'whole'"
    os.kill(pid, signal.SIGCONT)
    assert finish((pid, reader)) == "+continued"
    assert environment.read(partial(get, b"key")) == b"half"


# -- growth ------------------------------------------------------------------------------------


def test_the_map_grows_and_the_function_runs_again(path: Path) -> None:
    runs = []

    def work(tx: WriteTransaction) -> None:
        runs.append(tx.count(BLOBS))
        tx.put(BLOBS, b"key", b"x" * 5 * MIB)

    with Environment.open(path, TABLES, map_size=MIB) as environment:
        environment.write(work)
        handle = environment._handle
        assert handle is not None
        assert handle._database is not None
        assert handle._database.map_bytes == 8 * MIB
    assert runs == [0, 0, 0, 0]  # 1, 2, 4, 8 MiB; each attempt began with nothing.


def test_growth_cannot_be_swallowed(environment: Environment) -> None:
    def work(tx: WriteTransaction) -> str:
        with contextlib.suppress(Exception):
            tx.put(BLOBS, b"key", b"x" * 5 * MIB)
        with contextlib.suppress(Exception):
            tx.put(ROWS, b"after", b"")
        return "done"

    assert environment.write(work) == "done"
    assert environment.read(lambda tx: (tx.count(BLOBS), tx.count(ROWS))) == (1, 1)


def test_growth_ends_at_the_limit(path: Path) -> None:
    with Environment.open(path, TABLES, map_size=MIB, max_bytes=3 * MIB) as environment:
        environment.write(lambda tx: tx.put(BLOBS, b"a", b"x" * 2 * MIB))
        with pytest.raises(StoreFullError, match=r"limit of 3145728 bytes \(max_bytes\)"):
            environment.write(lambda tx: tx.put(BLOBS, b"b", b"x" * 2 * MIB))
        assert environment.read(lambda tx: tx.count(BLOBS)) == 1
        environment.write(lambda tx: tx.delete(BLOBS, b"a"), frees_space=True)
        environment.write(partial(put, b"key", b"value"))
        assert (path / "g1" / "data.mdb").stat().st_size <= 3 * MIB


def test_at_the_limit_space_can_still_be_freed(path: Path) -> None:
    def add(start: int, tx: WriteTransaction) -> None:
        for number in range(start, start + 100):
            tx.append(ROWS, b"%06d" % number, b"x" * 500)

    def drop(tx: WriteTransaction) -> int:
        return sum(tx.delete(ROWS, b"%06d" % number) for number in range(0, 1000, 3))

    with Environment.open(path, TABLES, map_size=MIB, max_bytes=2 * MIB) as environment:
        with contextlib.suppress(StoreFullError):
            for start in range(0, 100_000, 100):
                environment.write(partial(add, start))
        before = environment.read(count)
        with pytest.raises(StoreFullError):
            environment.write(drop)
        assert environment.write(drop, frees_space=True) == 334
        environment.write(partial(put, b"new", b"y" * 500))
        assert environment.read(count) == before - 334 + 1
        assert (path / "g1" / "data.mdb").stat().st_size <= 3 * MIB


def test_the_limit_bounds_the_first_map_too(path: Path) -> None:
    Environment.open(path, TABLES).close()
    with (
        Environment.open(path, TABLES, max_bytes=MIB) as environment,
        pytest.raises(StoreFullError, match="max_bytes"),
    ):
        environment.write(lambda tx: tx.put(BLOBS, b"a", b"x" * MIB))


def test_a_limit_that_holds_no_store_is_refused(path: Path) -> None:
    with pytest.raises(InvalidInputError, match="1048576 bytes at least"):
        Environment.open(path, TABLES, max_bytes=MIB - 1)
    with pytest.raises(InvalidInputError, match="1048576 bytes at least"):
        Environment.open(path, TABLES, map_size=0)


def test_the_larger_limit_of_two_users_counts(path: Path) -> None:
    with (
        Environment.open(path, TABLES, map_size=MIB, max_bytes=MIB) as small,
        Environment.open(path, TABLES, map_size=MIB, max_bytes=9 * MIB),
    ):
        small.write(lambda tx: tx.put(BLOBS, b"a", b"x" * 3 * MIB))
        assert small.read(lambda tx: tx.count(BLOBS)) == 1


def test_growth_elsewhere_reaches_readers_and_writers(path: Path) -> None:
    def elsewhere(size: int) -> str:
        with Environment.open(path, TABLES, map_size=MIB) as other:
            other.write(lambda tx: tx.put(BLOBS, b"key", b"x" * size * MIB))
        return "written"

    def blob(tx: ReadTransaction) -> bytes | None:
        return tx.get(BLOBS, b"key")

    with (
        Environment.open(path, TABLES, map_size=MIB) as environment,
        Environment.open(path, TABLES, map_size=MIB, read_only=True) as reader,
    ):
        for size in (3, 9):
            assert in_child(partial(elsewhere, size)) == "+written"
            assert reader.read(blob) == b"x" * size * MIB
            assert in_child(partial(elsewhere, 2 * size)) == "+written"
            environment.write(partial(put, b"key", b"value"))


def test_processes_outgrow_a_small_map_together(path: Path) -> None:
    """Four writers from 1 MiB to over 64 MiB: no error reaches a caller, nothing is lost."""

    def store(key: bytes, tx: WriteTransaction) -> None:
        tx.put(BLOBS, key, key * 200_000)
        tx.put(ROWS, key, b"")

    def blob(key: bytes, tx: ReadTransaction) -> bytes | None:
        return tx.get(BLOBS, key)

    def work(number: int) -> str:
        with Environment.open(path, TABLES, map_size=MIB) as environment:
            for i in range(24):
                key = b"%d-%d" % (number, i)
                environment.write(partial(store, key))
                assert environment.read(partial(blob, key)) == key * 200_000
        return "done"

    children = [start_child(partial(work, number)) for number in range(4)]
    assert [finish(child) for child in children] == ["+done"] * 4
    with Environment.open(path, TABLES, map_size=MIB) as environment:
        assert environment.read(count) == 96
        assert environment.read(lambda tx: all(v[:3] == k[:3] for k, v in tx.items(BLOBS)))
        assert environment.disk_bytes() > 64 * MIB


def test_threads_share_one_environment(environment: Environment, seed: int) -> None:
    """Sixteen threads read, write and let the map grow through one object."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        chooser = random.Random(seed + number)
        try:
            for i in range(30):
                key = b"%d-%d" % (number, i)
                environment.write(partial(put, key, os.urandom(chooser.randrange(40_000))))
                assert environment.read(partial(get, key)) is not None
                other = b"%d-%d" % (chooser.randrange(16), i)
                environment.read(partial(get, other))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert environment.read(count) == 16 * 30
    assert environment.disk_bytes() > 4 * MIB


@pytest.mark.parametrize("compact", [True, False])
def test_the_file_is_copied_beside_a_thread_that_gives_up_writing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compact: bool
) -> None:
    """Each had waited for what the other one has."""
    copy_to = ReadTransaction.copy_to

    def work() -> str:
        # No thread of the process would get to raise anything.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(90)
        writing, copying = threading.Event(), threading.Event()

        def copy(tx: ReadTransaction, *args: Any, **options: Any) -> None:
            copying.set()
            copy_to(tx, *args, **options)

        def write(tx: WriteTransaction) -> None:
            writing.set()
            copying.wait(0.5)
            time.sleep(0.1)
            raise ConflictError("nothing is written")

        def try_to_write() -> None:
            with contextlib.suppress(ConflictError):
                opened.write(write)

        monkeypatch.setattr(ReadTransaction, "copy_to", copy)

        with Environment.open(path, TABLES) as opened:
            opened.write(partial(put, b"key", b"before"))
            thread = threading.Thread(target=try_to_write)
            thread.start()
            writing.wait()
            opened.copy(tmp_path / "copy", compact=compact)
            thread.join()
            opened.write(partial(put, b"key", b"after"))
        return "copied"

    assert in_child(work) == "+copied"


def test_inside_a_transaction_the_file_is_not_copied_as_it_is(
    environment: Environment, tmp_path: Path
) -> None:
    def copy(_tx: ReadTransaction) -> None:
        environment.copy(tmp_path / "copy", compact=False)

    with pytest.raises(InvalidInputError, match="inside a transaction"):
        environment.write(copy)


# -- interruption ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError, SystemExit])
@pytest.mark.parametrize("outer", ["read", "write"])
def test_an_interrupted_function_releases_everything(
    environment: Environment, path: Path, error: type[BaseException], outer: str
) -> None:
    def work(tx: ReadTransaction) -> None:
        if isinstance(tx, WriteTransaction):
            tx.put(ROWS, b"key", b"half")
        raise error

    with pytest.raises(error):
        (environment.read if outer == "read" else environment.write)(work)
    assert environment.read(count) == 0
    environment.write(lambda tx: tx.put(BLOBS, b"key", b"x" * 3 * MIB))  # Needs the gate.

    def elsewhere() -> str:
        with Environment.open(path, TABLES) as other:
            other.write(partial(put, b"key", b"whole"))
        return "written"

    assert in_child(elsewhere) == "+written"
    assert environment.read(partial(get, b"key")) == b"whole"


def test_interrupts_at_any_moment_leave_a_working_environment(
    path: Path, seed: int, rounds: Callable[[int, int], int]
) -> None:
    """A signal handler that raises, thousands of times, somewhere in our code or in LMDB's."""
    chooser = random.Random(seed)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def work() -> str:
        interrupted = acknowledged = 0
        with Environment.open(path, TABLES, map_size=MIB) as environment:
            # An interrupt is to hit any part of a write, however slow the disk is.
            start = time.perf_counter()
            for _ in range(10):
                environment.write(partial(put, b"key", b"0"))
            usual = (time.perf_counter() - start) / 10
            # Nor is it to take longer than a test may: on a fast disk, as many times as wanted.
            times = max(50, min(rounds(800, 50_000), int(rounds(30, 5_000) / usual)))
            signal.signal(signal.SIGALRM, interrupt)
            for i in range(times):
                try:
                    signal.setitimer(signal.ITIMER_REAL, chooser.uniform(1e-6, 1.5 * usual))
                    while True:
                        environment.read(count)
                        environment.write(partial(put, b"key", b"%d" % i))
                        acknowledged = i
                except KeyboardInterrupt:
                    interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            stored = int(environment.read(partial(get, b"key")) or -1)
            assert stored >= acknowledged
            # The gate must be empty, or this would wait for ever.
            environment.write(lambda tx: tx.put(BLOBS, b"key", b"x" * 3 * MIB))
        assert interrupted >= times - 1
        return "went on"

    assert in_child(work) == "+went on"
    with Environment.open(path, TABLES) as environment:
        environment.write(partial(put, b"key", b"after"))


@pytest.mark.parametrize("what", [Database, GenerationLock])
@pytest.mark.parametrize("again", [True, False])
def test_a_store_whose_closing_was_interrupted_opens_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, what: type[Any], again: bool
) -> None:
    environment = Environment.open(path, TABLES)
    close = what.close

    def interrupted(closed: Any) -> None:
        monkeypatch.setattr(what, "close", close)
        close(closed)
        raise KeyboardInterrupt

    environment.write(partial(put, b"key", b"before"))
    monkeypatch.setattr(what, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        environment.close()
    if again:
        environment.close()
    for _ in range(2):
        with Environment.open(path, TABLES) as other:
            other.write(partial(put, b"key", b"after"))
            assert other.read(partial(get, b"key")) == b"after"


def test_an_interrupted_replacement_leaves_the_gate_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reopen = GenerationLock._reopen

    def interrupted(lock: GenerationLock) -> None:
        monkeypatch.setattr(GenerationLock, "_reopen", reopen)
        raise KeyboardInterrupt

    def refuse(_tx: ReadTransaction) -> Path:
        monkeypatch.setattr(GenerationLock, "_reopen", interrupted)
        raise ConflictError("not replaced")

    with Environment.open(path, TABLES) as environment:
        with pytest.raises(KeyboardInterrupt) as caught:
            environment.replace(refuse)
        assert not environment._open_handle()._lock().gate.is_mine()
        with open(path / TURNSTILE_FILE, "rb") as turnstile:
            fcntl.flock(turnstile, fcntl.LOCK_SH | fcntl.LOCK_NB)
        del caught  # its traceback kept alive whatever was open
        environment.write(partial(put, b"key", b"after"))


# -- readers -----------------------------------------------------------------------------------


def slots(path: Path) -> int:
    """How many reader slots of the store are taken, dead readers included."""

    def work() -> str:
        # In a child: this process may have the file open, and LMDB allows that once.
        with lmdb.open(str(path / "g1"), readonly=True, max_dbs=1) as raw:
            return raw.readers()

    return sum(line.split()[0].isdecimal() for line in in_child(work).splitlines())


def kill_a_reader(environment: Environment) -> None:
    def die(tx: ReadTransaction) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "alive"

    pid, reader = start_child(lambda: environment.read(die))
    os.close(reader)
    os.waitpid(pid, 0)


def stay(environment: Environment, keeper: int) -> str:
    environment.read(count)
    return os.read(keeper, 1).decode()


def test_killed_readers_are_cleared_at_the_next_opening(path: Path) -> None:
    keeper, running = os.pipe()
    with Environment.open(path, TABLES) as environment:
        # LMDB clears its table when it is opened first, so somebody must stay.
        child = start_child(partial(stay, environment, keeper))
        for _ in range(3):
            kill_a_reader(environment)
    assert slots(path) == 1  # Each opening cleared the slot of the one before.
    Environment.open(path, TABLES).close()
    assert slots(path) == 0
    os.write(running, b"!")
    assert finish(child) == "+!"


def test_a_full_reader_table_is_cleared_of_the_dead(path: Path) -> None:
    with Environment.open(path, TABLES) as environment:

        def crowd() -> str:
            def nest(left: int, tx: ReadTransaction) -> str:
                if left:
                    return in_thread(left - 1)
                os.kill(os.getpid(), signal.SIGKILL)
                return "alive"

            def in_thread(left: int) -> str:
                thread = threading.Thread(target=environment.read, args=(partial(nest, left),))
                thread.start()
                thread.join()
                return "alive"

            return in_thread(MOST_READERS - 50)

        for _ in range(2):
            pid, reader = start_child(crowd)
            os.close(reader)
            os.waitpid(pid, 0)
        assert environment.read(count) == 0
        environment.write(partial(put, b"key", b"value"))
        assert environment.read(count) == 1


def test_more_readers_than_slots_wait_for_each_other(path: Path) -> None:
    most = 0
    active = set[int]()
    crowded = threading.Event()

    def work(number: int, tx: ReadTransaction) -> int:
        nonlocal most
        active.add(number)
        most = max(most, len(active))
        if most == MOST_READERS:
            crowded.set()
        assert crowded.wait(60)
        time.sleep(0.05)  # some of the others ask for a slot meanwhile
        active.discard(number)
        return tx.count(TABLES[0])

    with Environment.open(path, TABLES) as environment:
        readers = 2 * MOST_READERS
        with ThreadPoolExecutor(readers) as pool:
            found = pool.map(lambda number: environment.read(partial(work, number)), range(readers))
            assert list(found) == [0] * readers
    assert most == MOST_READERS


def test_the_lock_file_has_the_size_that_its_table_takes(path: Path) -> None:
    """All of it is allocated: where LMDB makes it larger, there may be no blocks."""
    Environment.open(path, TABLES).close()
    lock = path / "g1" / "lock.mdb"
    lock.unlink()
    for size in (3 * 4096, 9 * 4096):
        with Environment.open(path, TABLES) as environment:
            environment.write(partial(put, b"key", b"value"))
            assert lock.stat().st_size == size
            assert lock.stat().st_blocks * 512 >= size
        os.truncate(lock, 9 * 4096)


# -- closing -----------------------------------------------------------------------------------


def test_a_closed_environment_says_so(path: Path) -> None:
    environment = Environment.open(path, TABLES)
    environment.close()
    environment.close()
    for use in (
        lambda: environment.read(count),
        lambda: environment.write(partial(put, b"key", b"value")),
        lambda: environment.generation,
    ):
        with pytest.raises(InvalidInputError, match="is closed"):
            use()
    Environment.open(path, TABLES).close()


def test_closing_waits_for_active_transactions(path: Path) -> None:
    environment = Environment.open(path, TABLES)
    started, results = threading.Event(), []

    def work(tx: ReadTransaction) -> int:
        started.set()
        time.sleep(0.2)
        return tx.count(ROWS)

    thread = threading.Thread(target=lambda: results.append(environment.read(work)))
    thread.start()
    started.wait()
    environment.close()
    thread.join()
    assert results == [0]
    with pytest.raises(InvalidInputError, match="is closed"):
        environment.read(count)


def test_closing_beside_busy_threads(path: Path) -> None:
    """A thread that comes too late gets the error of a closed store, and nothing is reopened."""
    outcomes: set[str] = set()

    def work(environment: Environment) -> None:
        try:
            while True:
                environment.read(count)
                environment.write(partial(put, b"key", b"value"))
        except InvalidInputError as error:
            outcomes.add(str(error))
        except BaseException as error:
            outcomes.add(repr(error))

    for _ in range(20):
        environment = Environment.open(path, TABLES, map_size=MIB)
        threads = [threading.Thread(target=work, args=(environment,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.005)
        environment.close()
        for thread in threads:
            thread.join()
        assert outcomes == {f"the store {environment.path} is closed"}
        assert open_files(path) == []


def open_files(path: Path) -> list[str]:
    """The files below `path` that this process has open."""
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return [target for target in targets if target.startswith(str(path))]


def test_closing_inside_a_transaction_is_refused(path: Path) -> None:
    environment = Environment.open(path, TABLES)
    with pytest.raises(InvalidInputError, match="cannot be closed inside"):
        environment.read(lambda tx: environment.close())
    assert environment.read(count) == 0
    environment.close()


def test_opening_and_closing_in_many_threads(path: Path) -> None:
    Environment.open(path, TABLES).close()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(25):
                read_only = (number + i) % 3 == 0
                with Environment.open(path, TABLES, read_only=read_only) as environment:
                    environment.read(count)
                    if not read_only:
                        environment.write(partial(put, b"%d" % number, b"%d" % i))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Environment.open(path, TABLES) as environment:
        assert environment.read(count) == 8


def test_disk_bytes_counts_all_but_the_ballast(environment: Environment, path: Path) -> None:
    before = environment.disk_bytes()
    files = [p for p in path.rglob("*") if p.name != "ballast"]
    assert before == sum(p.stat().st_blocks * 512 for p in [path, *files])
    environment.write(lambda tx: tx.put(BLOBS, b"key", b"x" * 2 * MIB))
    assert environment.disk_bytes() >= before + 2 * MIB
    shutil.copy(path / "ballast", path / "g1" / "other")
    assert environment.disk_bytes() >= before + 3 * MIB
