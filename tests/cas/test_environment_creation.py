"""A new store: complete or absent, private, and made once."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path

import pytest

from cas.ballast import BALLAST_BYTES
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import (
    AccessError,
    CorruptStoreError,
    InvalidInputError,
    NotFoundError,
    StoreFullError,
)
from tests.cas.children import finish, in_child, nobody, start_child

ROWS = Table("rows")
TABLES = [ROWS]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture
def path(home: Path) -> Path:
    return home / "objects"


def all_of(tx: ReadTransaction) -> dict[bytes, bytes]:
    return dict(tx.items(ROWS))


def test_a_new_store_has_what_prepare_wrote(path: Path) -> None:
    calls = []

    def prepare(tx: WriteTransaction) -> None:
        calls.append(tx.generation)
        tx.put(ROWS, b"header", b"1")

    for _ in range(2):
        with Environment.open(path, TABLES, prepare=prepare) as environment:
            assert environment.read(all_of) == {b"header": b"1"}
            assert environment.generation == 1
            assert environment.path == path.resolve()
            assert environment.read_only is False
    assert calls == [1]


def test_the_layout_on_disk(path: Path) -> None:
    Environment.open(path, TABLES).close()
    assert sorted(p.name for p in path.iterdir()) == ["ballast", "g1", "generation", "turnstile"]
    assert sorted(p.name for p in (path / "g1").iterdir()) == ["data.mdb", "lock.mdb"]
    assert (path / "generation").read_bytes() == (
        b"hive store layout 0001 generation 00000000000000000001 check 29f8ee27\n"
    )
    ballast = (path / "ballast").stat()
    assert ballast.st_size == BALLAST_BYTES
    assert ballast.st_blocks * 512 >= BALLAST_BYTES
    assert [p.name for p in path.parent.iterdir()] == ["objects"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("as_nobody", [False, pytest.param(True, marks=needs_root)])
def test_a_store_is_private_whatever_the_umask(public: Path, umask: int, as_nobody: bool) -> None:
    path = public / "deep" / "home" / "objects"

    def work() -> str:
        os.umask(umask)
        with Environment.open(path, TABLES) as environment:
            environment.write(lambda tx: tx.put(ROWS, b"key", b"value"))
        modes = {stat.S_IMODE(p.lstat().st_mode) for p in path.rglob("*") if p.is_file()}
        folders = [path, path.parent, path.parent.parent, path / "g1"]
        return repr((modes, {stat.S_IMODE(p.stat().st_mode) for p in folders}))

    def as_somebody() -> str:
        if as_nobody:
            nobody()
        return work()

    assert in_child(as_somebody) == f"+{({0o600}, {0o700})}"


def test_without_create_an_absent_store_is_not_found(path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no store at .*: name another folder"):
        Environment.open(path, TABLES, create=False)
    with pytest.raises(NotFoundError, match="no store at"):
        Environment.open(path, TABLES, read_only=True)
    assert not path.parent.exists()


def test_an_empty_directory_becomes_a_store(path: Path) -> None:
    path.mkdir(parents=True, mode=0o755)
    with pytest.raises(NotFoundError):
        Environment.open(path, TABLES, create=False)
    Environment.open(path, TABLES).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_directory_of_something_else_is_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidInputError, match="not empty and holds no store"):
        Environment.open(path, TABLES)
    assert [p.name for p in path.iterdir()] == ["thesis.txt"]
    assert stat.S_IMODE(path.stat().st_mode) != 0o700


def test_a_file_in_the_place_of_the_store_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("a file")
    with pytest.raises(InvalidInputError, match="not a directory"):
        Environment.open(path, TABLES)
    with pytest.raises(InvalidInputError, match="cannot be the path of a store"):
        Environment.open(path / "objects", TABLES)
    assert path.read_text() == "a file"


def test_a_store_without_its_generation_file_says_so(path: Path) -> None:
    Environment.open(path, TABLES).close()
    (path / "generation").unlink()
    with pytest.raises(CorruptStoreError, match=r"lost its file generation .*: g1\)"):
        Environment.open(path, TABLES)


def test_a_store_without_its_data_says_so(path: Path) -> None:
    Environment.open(path, TABLES).close()
    (path / "g1" / "data.mdb").unlink()
    for read_only in (False, True):
        with pytest.raises(CorruptStoreError, match=r"no file g1/data\.mdb"):
            Environment.open(path, TABLES, read_only=read_only)


def test_a_failing_prepare_leaves_nothing(path: Path) -> None:
    def prepare(tx: WriteTransaction) -> None:
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        Environment.open(path, TABLES, prepare=prepare)
    assert list(path.parent.iterdir()) == []
    Environment.open(path, TABLES).close()


def test_prepare_may_need_a_larger_map(path: Path) -> None:
    def prepare(tx: WriteTransaction) -> None:
        tx.put(ROWS, b"key", b"x" * 3_000_000)

    with Environment.open(path, TABLES, prepare=prepare, map_size=1 << 20) as environment:
        assert environment.read(lambda tx: len(tx.get(ROWS, b"key") or b"")) == 3_000_000


def test_prepare_respects_the_limit(path: Path) -> None:
    def prepare(tx: WriteTransaction) -> None:
        tx.put(ROWS, b"key", b"x" * 3_000_000)

    with pytest.raises(StoreFullError, match="max_bytes"):
        Environment.open(path, TABLES, prepare=prepare, map_size=1 << 20, max_bytes=2 << 20)
    assert list(path.parent.iterdir()) == []


def test_processes_that_create_at_once_share_one_store(path: Path) -> None:
    for attempt in range(8):
        place = path.with_name(f"objects{attempt}")
        start = time.monotonic() + 0.05

        def work(place: Path = place, start: float = start) -> str:
            me = str(os.getpid()).encode()
            time.sleep(max(0, start - time.monotonic()))
            with Environment.open(
                place, TABLES, prepare=lambda tx: tx.put(ROWS, b"maker", me)
            ) as environment:
                environment.write(lambda tx: tx.put(ROWS, me, b""))
                return repr(environment.read(lambda tx: tx.get(ROWS, b"maker")))

        children = [start_child(work) for _ in range(4)]
        makers = {finish(child) for child in children}
        assert len(makers) == 1
        with Environment.open(place, TABLES) as environment:
            assert set(environment.read(all_of)) == {
                b"maker", *(str(pid).encode() for pid, _ in children),
            }  # fmt: skip
    assert [p for p in path.parent.iterdir() if p.name.startswith(".")] == []


def leftovers(path: Path) -> list[Path]:
    return list(path.parent.glob(".objects.creating.*"))


def test_a_killed_creation_does_no_harm_and_is_cleaned_up(path: Path) -> None:
    def prepare(tx: WriteTransaction) -> None:
        tx.put(ROWS, b"key", b"of the dead")
        os.kill(os.getpid(), signal.SIGKILL)

    pid, reader = start_child(lambda: str(Environment.open(path, TABLES, prepare=prepare)))
    os.close(reader)
    os.waitpid(pid, 0)
    assert len(leftovers(path)) == 1
    assert not path.exists()
    with Environment.open(path, TABLES) as environment:
        assert environment.read(all_of) == {}
    assert leftovers(path) == []


def test_the_creation_of_a_living_process_is_left_alone(path: Path) -> None:
    other: list[int] = []

    def create() -> str:
        Environment.open(path, TABLES).close()
        return "created"

    def prepare(tx: WriteTransaction) -> None:
        assert in_child(create) == "+created"
        other.append(len(leftovers(path)))

    with Environment.open(path, TABLES, prepare=prepare) as environment:
        assert environment.read(all_of) == {}
    assert other == [1]
    assert leftovers(path) == []


def test_a_leftover_that_somebody_still_holds_is_left_alone(path: Path) -> None:
    """Such as the one of another container, whose process numbers mean nothing here."""
    import fcntl

    path.parent.mkdir()
    draft = path.with_name(".objects.creating.999999999.00000000")
    draft.mkdir()
    with open(draft / "generation", "wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
        Environment.open(path, TABLES).close()
        assert leftovers(path) == [draft]
    Environment.open(path, TABLES).close()
    assert leftovers(path) == []


def test_names_that_merely_look_like_leftovers_are_left_alone(path: Path) -> None:
    path.parent.mkdir()
    mine = path.with_name(".objects.creating.by-hand")
    mine.mkdir()
    Environment.open(path, TABLES).close()
    assert mine.is_dir()


@needs_root
def test_an_unwritable_parent_is_named_with_owner_and_mode(public: Path) -> None:
    parent = public / "locked"
    parent.mkdir(mode=0o755)

    def work() -> str:
        nobody()
        Environment.open(parent / "home" / "objects", TABLES)
        return "created"

    text = in_child(work)
    assert text.startswith("AccessError")
    assert f"{parent} has owner uid 0 and mode 0755" in text
    assert "runs as uid 65534" in text


@needs_root
def test_root_passes_through_but_another_owner_is_refused(path: Path) -> None:
    Environment.open(path, TABLES).close()
    for victim in (path, path / "g1", path / "g1" / "data.mdb", path / "generation"):
        os.chown(victim, 65534, 65534)
        for read_only in (False, True):
            with pytest.raises(AccessError, match="has owner uid 65534"):
                Environment.open(path, TABLES, read_only=read_only)
        os.chown(victim, 0, 0)
    Environment.open(path, TABLES).close()


@pytest.fixture
def loose(path: Path) -> Path:
    Environment.open(path, TABLES).close()
    path.chmod(0o755)
    (path / "g1").chmod(0o770)
    (path / "g1" / "data.mdb").chmod(0o644)
    (path / "g1" / "lock.mdb").chmod(0o666)
    return path


def modes(path: Path) -> dict[str, int]:
    names = [path, *path.rglob("*")]
    return {str(p.relative_to(path)): stat.S_IMODE(p.stat().st_mode) for p in names}


def test_open_permissions_are_closed_at_the_next_opening(loose: Path) -> None:
    Environment.open(loose, TABLES).close()
    assert not any(mode & 0o077 for mode in modes(loose).values())
    assert modes(loose)["g1/data.mdb"] == 0o600


def test_reading_changes_no_permissions(loose: Path) -> None:
    before = modes(loose)
    Environment.open(loose, TABLES, read_only=True).close()
    assert modes(loose) == before


def test_a_linked_home_is_fine(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    with Environment.open(tmp_path / "link" / "objects", TABLES) as environment:
        assert environment.path == (real / "objects").resolve()


def test_a_link_of_ones_own_in_place_of_the_store_is_fine(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with Environment.open(tmp_path / "link", TABLES) as environment:
        assert environment.path == (tmp_path / "real").resolve()
    assert (tmp_path / "link").is_symlink()


@needs_root
def test_a_link_of_somebody_else_in_place_of_the_store_is_refused(tmp_path: Path) -> None:
    Environment.open(tmp_path / "real", TABLES).close()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.lchown(tmp_path / "link", 65534, 65534)
    with pytest.raises(AccessError, match="symbolic link made by uid 65534"):
        Environment.open(tmp_path / "link", TABLES)
