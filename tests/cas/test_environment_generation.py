"""The generation lock: what it says, whom it keeps out, and that nobody waits for ever."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptStoreError, InvalidInputError, NotFoundError, UnsupportedFormatError
from cas.flock import FlockFile
from cas.generation import (
    LINE_BYTES,
    GenerationLock,
    generation_line,
    parse_generation_line,
)
from cas.upkeep import upkeep_lock
from tests.cas.children import finish, in_child, start_child

ROWS = Table("rows")
PATIENCE_SECONDS = 20.0


@pytest.fixture
def store(home: Path) -> Path:
    path = home / "objects"
    with Environment.open(path, [ROWS]) as environment:
        environment.write(lambda tx: tx.put(ROWS, b"key", b"old"))
    return path


@pytest.fixture
def lock(store: Path) -> Iterator[GenerationLock]:
    lock = GenerationLock(store)
    yield lock
    lock.close()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.002)


def test_the_line_is_fixed() -> None:
    assert generation_line(1) == (
        b"hive store layout 0001 generation 00000000000000000001 check 29f8ee27\n"
    )
    assert len(generation_line(1)) == len(generation_line(10**20 - 1)) == LINE_BYTES
    assert parse_generation_line(generation_line(10**20 - 1), Path()) == 10**20 - 1


def test_every_flipped_bit_of_the_line_is_noticed(store: Path) -> None:
    good = generation_line(7)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStoreError, match="present: g1"):
            parse_generation_line(bytes(bad), store)


@pytest.mark.parametrize("line", [b"", generation_line(1)[:-1], generation_line(1) + b"\n"])
def test_a_cut_or_longer_line_says_what_to_do(store: Path, line: bytes) -> None:
    (store / "g12").mkdir()
    (store / "generation").write_bytes(line)
    with pytest.raises(CorruptStoreError, match="present: g1, g12") as caught:
        Environment.open(store, [ROWS])
    assert "restore the file from a copy" in str(caught.value)
    assert caught.value.path == store / "generation"


def test_a_newer_layout_asks_for_an_upgrade(store: Path) -> None:
    (store / "generation").write_bytes(generation_line(1, layout=2))
    with pytest.raises(UnsupportedFormatError, match=r"layout 2.*upgrade Hive"):
        Environment.open(store, [ROWS])


def test_advancing_is_only_forwards(lock: GenerationLock) -> None:
    with lock.exclusive() as generation:
        assert generation == 1
        lock.advance(2)
        for number in (1, 2):
            with pytest.raises(InvalidInputError, match="does not follow"):
                lock.advance(number)
    with lock.shared() as generation:
        assert generation == 2


def test_the_lock_of_a_missing_store_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        GenerationLock(tmp_path)


def test_a_reader_cannot_lock_exclusively(store: Path) -> None:
    lock = GenerationLock(store, read_only=True)
    with pytest.raises(InvalidInputError, match="reading only"), lock.exclusive():
        pass
    with lock.shared() as generation:
        assert generation == 1
    lock.close()


def test_a_thread_cannot_wait_for_itself(lock: GenerationLock) -> None:
    with lock.shared():
        with pytest.raises(InvalidInputError, match="end this one first"), lock.exclusive():
            pass
        with pytest.raises(InvalidInputError, match="end this one first"):
            lock.alone(str)
    with lock.exclusive():
        with pytest.raises(InvalidInputError, match="end this one first"), lock.exclusive():
            pass
        with pytest.raises(InvalidInputError, match="end this one first"):
            lock.alone(str)
        assert lock.gate.owned()
    assert lock.alone(str) == "1"


def test_sharing_again_does_not_wait(lock: GenerationLock) -> None:
    with lock.shared() as outer, lock.shared() as inner:
        assert outer == inner == 1
    with lock.exclusive() as generation:
        assert generation == 1


def test_an_interrupt_on_the_way_in_leaves_the_turnstile_open(
    lock: GenerationLock, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever wants the lock alone would wait for this process's next transaction."""
    flock = fcntl.flock

    def interrupted(file: FlockFile, operation: int) -> None:
        flock(file, operation)
        if file is lock._turnstile and operation == fcntl.LOCK_SH:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lock.enter()
    with closing(FlockFile(store / "turnstile", os.O_RDWR)) as file:
        flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def start(other: str, work: Callable[[], str]) -> Callable[[], object]:
    """Run `work` in another thread or process; return what waits for it."""
    if other == "process":
        return partial(finish, start_child(work))
    thread = threading.Thread(target=work)
    thread.start()
    return thread.join


@pytest.mark.parametrize("other", ["thread", "process"])
def test_shared_holders_keep_the_exclusive_one_waiting(
    lock: GenerationLock, store: Path, tmp_path: Path, other: str
) -> None:
    done = tmp_path / "done"

    def work() -> str:
        mine = lock if other == "thread" else GenerationLock(store)
        with mine.exclusive():
            done.touch()
        return "done"

    with lock.shared():
        finishing = start(other, work)
        time.sleep(0.1)
        assert not done.exists()
        with lock.shared():  # Nested: must not queue behind the one that waits for this thread.
            pass
    finishing()
    assert done.exists()


@pytest.mark.parametrize("other", ["thread", "process"])
def test_the_exclusive_holder_keeps_shared_ones_waiting(
    lock: GenerationLock, store: Path, tmp_path: Path, other: str
) -> None:
    done = tmp_path / "done"

    def work() -> str:
        mine = lock if other == "thread" else GenerationLock(store)
        with mine.shared() as generation:
            done.touch()
        return str(generation)

    with lock.exclusive():
        finishing = start(other, work)
        time.sleep(0.1)
        assert not done.exists()
        lock.advance(2)
    finishing()
    assert done.exists()


def test_readers_without_end_do_not_starve_the_exclusive_holder(
    store: Path, tmp_path: Path
) -> None:
    """Overlapping holders in several threads of two processes: some of them always hold it."""
    stop = tmp_path / "stop"

    def hold(lock: GenerationLock) -> None:
        while not stop.exists():
            with lock.shared():
                time.sleep(0.003)

    def work() -> str:
        lock = GenerationLock(store)
        threads = [threading.Thread(target=hold, args=(lock,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return "stopped"

    children = [start_child(work) for _ in range(2)]
    time.sleep(0.1)
    lock = GenerationLock(store)
    try:
        for _ in range(20):  # for ever, if it has to find a moment without holders
            with lock.exclusive():
                pass
    finally:
        stop.touch()
        assert [finish(child) for child in children] == ["+stopped"] * 2
    lock.close()


def test_a_killed_holder_holds_nothing(store: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"

    def work() -> str:
        with GenerationLock(store).exclusive():
            held.touch()
            time.sleep(PATIENCE_SECONDS)
        return "too late"

    pid, reader = start_child(work)
    os.close(reader)
    wait_for(held)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    lock = GenerationLock(store)
    with lock.exclusive() as generation:
        assert generation == 1
    lock.close()


def test_a_child_does_not_keep_the_lock_of_its_dead_parent(store: Path) -> None:
    orphan, alive = os.pipe()  # read to its end, it tells that the orphan has ended
    keeper, running = os.pipe()

    def parent() -> str:
        with Environment.open(store, [ROWS]) as environment:

            def work(tx: ReadTransaction) -> None:
                if os.fork() == 0:
                    os.close(running)
                    os.write(alive, b"!")
                    os.read(keeper, 1)
                    os._exit(0)
                os.kill(os.getpid(), signal.SIGKILL)

            environment.read(work)
        return "alive"

    pid, reader = start_child(parent)
    os.close(reader)
    os.close(alive)
    os.waitpid(pid, 0)
    assert os.read(orphan, 1) == b"!"
    lock = GenerationLock(store)
    try:
        with lock.exclusive():  # for ever, if the orphan had it
            pass
    finally:
        lock.close()
        os.close(running)
        assert os.read(orphan, 1) == b""
        os.close(orphan)
        os.close(keeper)


def put(key: bytes, value: bytes, tx: WriteTransaction) -> None:
    tx.put(ROWS, key, value)


def replace(store: Path, value: bytes) -> int:
    """Make the next generation, as compaction will: a copy with another value in it."""
    lock = GenerationLock(store)
    # Compaction has that lock too: whoever opens the store would take the copy for a leftover.
    with upkeep_lock(store, None), lock.exclusive() as old:
        new = old + 1
        shutil.copytree(store / f"g{old}", store / f"g{new}")
        (store / f"g{new}" / "lock.mdb").unlink(missing_ok=True)
        draft = store.with_name("draft")
        draft.mkdir()
        shutil.copytree(store / f"g{new}", draft / "g1")
        (draft / "generation").write_bytes(generation_line(1))
        with Environment.open(draft, [ROWS]) as environment:
            environment.write(lambda tx: tx.put(ROWS, b"key", value))
        shutil.copyfile(draft / "g1" / "data.mdb", store / f"g{new}" / "data.mdb")
        shutil.rmtree(draft)
        lock.advance(new)
        shutil.rmtree(store / f"g{old}")
    lock.close()
    return new


@pytest.mark.parametrize("read_only", [False, True])
def test_an_open_environment_moves_on_to_the_new_generation(store: Path, read_only: bool) -> None:
    with Environment.open(store, [ROWS], read_only=read_only) as environment:
        assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"old"
        assert in_child(lambda: str(replace(store, b"new"))) == "+2"
        assert environment.read(lambda tx: (tx.generation, tx.get(ROWS, b"key"))) == (2, b"new")
        assert environment.generation == 2
        assert in_child(lambda: str(replace(store, b"newer"))) == "+3"
        if not read_only:
            environment.write(lambda tx: tx.put(ROWS, b"other", b"%d" % tx.generation))
            assert environment.read(lambda tx: tx.get(ROWS, b"other")) == b"3"


def test_nothing_is_lost_while_generations_pass(store: Path, tmp_path: Path) -> None:
    """Writers keep counting while another process replaces the file under them."""
    stop = tmp_path / "stop"

    def count() -> str:
        done = 0
        me = str(os.getpid()).encode()
        with Environment.open(store, [ROWS]) as environment:
            while not done or not stop.exists():
                done += 1
                environment.write(partial(put, me, b"%d" % done))
        return f"{os.getpid()} {done}"

    children = [start_child(count) for _ in range(2)]
    for round_ in range(8):
        in_child(lambda: str(replace(store, b"x")))
        time.sleep(0.01 * round_)
    stop.touch()
    counts = dict(finish(child)[1:].split() for child in children)
    with Environment.open(store, [ROWS]) as environment:
        rows = environment.read(lambda tx: dict(tx.items(ROWS)))
        assert environment.generation == 9
    assert {key.decode(): value.decode() for key, value in rows.items() if key != b"key"} == counts


def test_a_leftover_generation_is_ignored(store: Path) -> None:
    (store / "g2").mkdir()
    (store / "g2" / "data.mdb").write_bytes(b"half a compaction")
    with Environment.open(store, [ROWS]) as environment:
        assert environment.generation == 1
        assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"old"


# -- a store that is not there any more -------------------------------------------------------


@pytest.mark.parametrize("anew", [True, False])
def test_nothing_is_written_to_a_store_that_was_removed(store: Path, anew: bool) -> None:
    """It would be acknowledged and lost."""
    with Environment.open(store, [ROWS]) as environment:
        environment.write(partial(put, b"key", b"1"))
        shutil.rmtree(store)
        if anew:
            Environment.open(store, [ROWS]).close()
        for _ in range(2):
            with pytest.raises(NotFoundError, match="removed or moved away"):
                environment.write(partial(put, b"key", b"2"))
            with pytest.raises(NotFoundError, match="removed or moved away"):
                environment.read(lambda tx: tx.get(ROWS, b"key"))
        environment.close()
        with Environment.open(store, [ROWS]) as again:
            again.write(partial(put, b"key", b"3"))
            assert again.read(lambda tx: tx.get(ROWS, b"key")) == b"3"


@pytest.mark.parametrize("replaced", [True, False])
def test_nothing_is_written_to_a_data_file_that_was_removed(store: Path, replaced: bool) -> None:
    """As where a copy is put in its place while programs are at work."""
    data = store / "g1" / "data.mdb"
    copy = shutil.copy(data, store.with_name("copy"))
    with Environment.open(store, [ROWS]) as environment:
        environment.write(partial(put, b"key", b"1"))
        data.unlink()
        if replaced:
            os.rename(copy, data)
        for _ in range(2):
            with pytest.raises(NotFoundError, match=r"data\.mdb was removed or replaced"):
                environment.write(partial(put, b"key", b"2"))
            with pytest.raises(NotFoundError, match=r"data\.mdb was removed or replaced"):
                environment.read(lambda tx: tx.get(ROWS, b"key"))
    if replaced:
        with Environment.open(store, [ROWS]) as environment:
            assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"old"
            environment.write(partial(put, b"key", b"3"))


def test_a_file_system_that_counts_no_names_loses_no_file(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fstat = os.fstat

    def without_names(descriptor: int) -> SimpleNamespace:
        status = fstat(descriptor)
        shown = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return SimpleNamespace(**{**shown, "st_nlink": 0})

    with Environment.open(store, [ROWS]) as environment:
        monkeypatch.setattr(os, "fstat", without_names)
        environment.write(partial(put, b"key", b"1"))
        assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"1"


@pytest.mark.parametrize("size", [0, 8192])
def test_a_data_file_that_is_cut_off_while_it_is_open_ends_no_process(
    store: Path, size: int
) -> None:
    """LMDB reads behind the end, and the process is killed."""

    def work() -> str:
        with Environment.open(store, [ROWS]) as environment:
            environment.write(partial(put, b"key", b"1"))
            os.truncate(store / "g1" / "data.mdb", size)
            with pytest.raises(CorruptStoreError, match="was cut off while it was open"):
                environment.write(partial(put, b"key", b"2"))
            with pytest.raises(CorruptStoreError, match="was cut off while it was open"):
                environment.read(lambda tx: tx.get(ROWS, b"key"))
        return "told"

    assert in_child(work) == "+told"


def test_a_store_is_not_taken_for_another_in_its_place(store: Path, tmp_path: Path) -> None:
    """Files are found by their paths, and the lock of the one is not that of the other."""
    with Environment.open(store, [ROWS]) as environment:
        environment.write(partial(put, b"key", b"moved"))
        os.rename(store, tmp_path / "moved")
        with Environment.open(store, [ROWS]) as other:
            other.write(partial(put, b"key", b"new"))
            in_child(lambda: str(replace(store, b"newer")))
            for _ in range(2):
                with pytest.raises(NotFoundError, match="removed or moved away"):
                    environment.replace(lambda _tx: tmp_path)
                with pytest.raises(NotFoundError, match="removed or moved away"):
                    environment.write(partial(put, b"key", b"to which one?"))
            assert other.read(lambda tx: tx.get(ROWS, b"key")) == b"newer"
        os.rename(store, tmp_path / "newer")
        os.rename(tmp_path / "moved", store)
        assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"moved"


def test_who_finds_the_file_damaged_holds_up_nobody(store: Path) -> None:
    """It stays open, and whoever puts the file right needs the lock."""
    file = store / "generation"
    line = file.read_bytes()
    with closing(GenerationLock(store)) as lock:
        file.write_bytes(line.replace(b"check", b"chick"))
        with pytest.raises(CorruptStoreError), lock.shared():
            pass
        with open(file, "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.write_bytes(line)
        with lock.shared() as generation:
            assert generation == 1
