"""Who may open a store, where it may lie, and what reading leaves untouched."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import cas.environment
from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import AccessError, HiveError, ReadOnlyStoreError
from cas.mounts import file_system_of, refuse_network_file_system
from tests.cas.children import PROJECT, finish, in_child, nobody, start_child

ROWS = Table("rows")
LATER = Table("later")
TABLES = [ROWS]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and change users")


def put(key: bytes, value: bytes, tx: WriteTransaction) -> None:
    tx.put(ROWS, key, value)


def get(key: bytes, tx: ReadTransaction) -> bytes | None:
    return tx.get(ROWS, key)


@pytest.fixture
def path(home: Path) -> Path:
    store = home / "objects"
    with Environment.open(store, TABLES) as environment:
        environment.write(partial(put, b"key", b"value"))
    return store


@pytest.fixture
def foreign(public: Path) -> Path:
    """The store as a possession of nobody, in a place that nobody can reach."""
    store = public / "home" / "objects"
    with Environment.open(store, TABLES) as environment:
        environment.write(partial(put, b"key", b"value"))
    for place in (store.parent, store, *store.rglob("*")):
        os.chown(place, 65534, 65534)
    return store


def state(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything about a store that somebody who only reads must not change."""
    found = {}
    for place in [path, *sorted(path.rglob("*"))]:
        status = place.lstat()
        lock = place.name == "lock.mdb"  # LMDB keeps its table of readers there.
        content = place.read_bytes() if place.is_file() and not lock else b""
        times = 0 if lock else status.st_mtime_ns
        found[str(place)] = (status.st_mode, status.st_ino, times, content)
    return found


# -- reading -----------------------------------------------------------------------------------


def test_reading_changes_nothing(path: Path) -> None:
    (path / "ballast").unlink()
    (path / "turnstile").unlink()
    before = state(path)
    with Environment.open(path, [ROWS, LATER], read_only=True) as reader:
        assert reader.read(partial(get, b"key")) == b"value"
        with pytest.raises(ReadOnlyStoreError):
            reader.write(partial(put, b"key", b"other"))
    assert state(path) == before


def test_reading_does_not_create_a_lock_file(path: Path) -> None:
    (path / "g1" / "lock.mdb").unlink()
    with Environment.open(path, TABLES, read_only=True) as reader:
        assert reader.read(partial(get, b"key")) == b"value"
        assert not (path / "g1" / "lock.mdb").exists()

        def write() -> str:
            with Environment.open(path, TABLES) as environment:
                environment.write(partial(put, b"key", b"new"))
            return "written"

        # From now on there is a lock file, and the reader registers in it.
        assert in_child(write) == "+written"
        assert reader.read(partial(get, b"key")) == b"new"
        assert reader._handle is not None
        assert reader._handle._database is not None
        assert reader._handle._database.locked


def test_a_table_that_is_missing_reads_as_empty(path: Path) -> None:
    with Environment.open(path, [ROWS, LATER], read_only=True) as reader:

        def look(tx: ReadTransaction) -> tuple[object, ...]:
            rows = list(tx.items(LATER))
            seek = tx.first_at_or_after(LATER, b""), tx.last_at_or_before(LATER, b"z")
            return tx.get(LATER, b"key"), seek, rows, tx.count(LATER)

        assert reader.read(look) == (None, (None, None), [], 0)

        def write() -> str:
            with Environment.open(path, [LATER]) as environment:
                environment.write(lambda tx: tx.put(LATER, b"key", b"value"))
            return "written"

        assert in_child(write) == "+written"
        assert reader.read(look)[-1] == 1


def test_a_reader_sees_the_commits_of_a_live_writer(path: Path) -> None:
    def count() -> str:
        last = seen = 0
        with Environment.open(path, TABLES, read_only=True) as reader:
            while last < 200:
                now = int(reader.read(partial(get, b"count")) or 0)
                assert now >= last
                seen += now != last
                last = now
        return str(seen)

    child = start_child(count)
    with Environment.open(path, TABLES) as writer:
        for number in range(1, 201):
            writer.write(partial(put, b"count", b"%d" % number))
    assert int(finish(child)[1:]) >= 1


@needs_root
@pytest.mark.parametrize("lock_mode", [0o400, 0o000])
def test_a_store_of_read_only_files_can_be_read(foreign: Path, lock_mode: int) -> None:
    for place in foreign.rglob("*"):
        place.chmod(0o500 if place.is_dir() else 0o400)
    (foreign / "g1" / "lock.mdb").chmod(lock_mode)
    foreign.chmod(0o500)
    before = state(foreign)

    def read() -> str:
        nobody()
        with Environment.open(foreign, TABLES, read_only=True) as reader:
            return repr(reader.read(partial(get, b"key")))

    def write() -> str:
        nobody()
        Environment.open(foreign, TABLES)
        return "opened"

    assert in_child(read) == "+b'value'"
    assert state(foreign) == before
    outcome = in_child(write)
    assert outcome.startswith("AccessError")
    assert f"{foreign} has owner uid 65534 and mode 0500" in outcome
    assert state(foreign) == before


@needs_root
@pytest.mark.parametrize("name", ["generation", "g1/data.mdb", "g1"])
def test_an_unreadable_part_is_refused(foreign: Path, name: str) -> None:
    (foreign / name).chmod(0)

    def work(read_only: bool) -> str:
        nobody()
        Environment.open(foreign, TABLES, read_only=read_only)
        return "opened"

    for read_only in (False, True):
        outcome = in_child(partial(work, read_only))
        assert outcome.startswith("AccessError")
        assert "uid 65534" in outcome


@needs_root
def test_an_unwritable_data_file_is_refused_at_once(foreign: Path) -> None:
    (foreign / "g1" / "data.mdb").chmod(0o400)

    def work() -> str:
        nobody()
        Environment.open(foreign, TABLES)
        return "opened"

    outcome = in_child(work)
    assert outcome.startswith("AccessError")
    assert "data.mdb has owner uid 65534 and mode 0400" in outcome


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own; unmounted afterwards."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=16m,mode=0755", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@needs_root
def test_a_read_only_file_system_is_for_reading(disk: Path) -> None:
    store = disk / "objects"
    with Environment.open(store, TABLES) as environment:
        environment.write(partial(put, b"key", b"value"))
    mount("-o", "remount,ro", str(disk))
    with pytest.raises(ReadOnlyStoreError, match="read_only=True"):
        Environment.open(store, TABLES)
    with Environment.open(store, TABLES, read_only=True) as reader:
        assert reader.read(partial(get, b"key")) == b"value"
    with pytest.raises(ReadOnlyStoreError, match="read-only file system"):
        Environment.open(disk / "other" / "objects", TABLES)


@needs_root
def test_two_mounts_of_one_store_are_one_store(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "bound"
    other.mkdir()
    mount("--bind", str(path.parent), str(other))
    try:
        with (
            Environment.open(path, TABLES) as one,
            Environment.open(other / "objects", TABLES) as two,
        ):
            two.write(partial(put, b"key", b"new"))
            assert one.read(partial(get, b"key")) == b"new"
    finally:
        subprocess.run(["umount", "-l", str(other)], check=True)


# -- network file systems ----------------------------------------------------------------------

TABLE = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /home rw - nfs4 server:/home rw
31 30 8:2 / /home/ann/local rw - xfs /dev/sdb rw
32 22 0:41 / /mnt/with\040space\134and rw shared:7 master:3 - fuse.sshfs ann@host: rw
33 22 0:42 / /over rw - ext4 /dev/sdc rw
34 33 0:43 / /over rw - cifs //server/share rw
35 22 0:44 / /mnt/share rw - 9p share rw
broken line
36 22
"""


@pytest.fixture
def mount_table(tmp_path: Path) -> Path:
    table = tmp_path / "mountinfo"
    table.write_text(TABLE)
    return table


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/srv/hive", "ext4"),
        ("/home/ann/.hive/objects", "nfs4"),
        ("/homely", "ext4"),
        ("/home/ann/local/hive", "xfs"),
        ("/mnt/with space\\and/hive", "fuse.sshfs"),
        ("/mnt/with", "ext4"),
        ("/over/hive", "cifs"),
        ("/proc/self", "proc"),
    ],
)
def test_the_longest_mount_point_counts(mount_table: Path, path: str, kind: str) -> None:
    assert file_system_of(Path(path), mount_table) == kind


@pytest.mark.parametrize(
    "kind",
    "nfs nfs3 nfs4 cifs smb3 smbfs 9p afs ceph glusterfs lustre fuse.sshfs fuse.s3fs".split(),
)
def test_network_file_systems_are_refused(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 0:1 / / rw - {kind} server:/export rw\n")
    with pytest.raises(AccessError, match=rf"network file system \({kind}\)") as caught:
        refuse_network_file_system(Path("/srv/hive"), table)
    assert "HIVE_HOME" in str(caught.value)
    assert "force_network=True" in str(caught.value)


@pytest.mark.parametrize(
    "kind", "ext4 xfs btrfs zfs tmpfs overlay f2fs apfs fuse.encfs fuseblk vfat".split()
)
def test_local_file_systems_are_not(tmp_path: Path, kind: str) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"22 1 0:1 / / rw - {kind} /dev/sda1 rw\n")
    refuse_network_file_system(Path("/srv/hive"), table)
    assert file_system_of(Path("/srv/hive"), table) == kind


def test_without_a_mount_table_everything_is_local(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "absent") is None
    refuse_network_file_system(tmp_path, tmp_path / "absent")


@pytest.mark.parametrize("exists", [False, True])
def test_a_store_on_a_network_file_system_is_neither_opened_nor_created(
    home: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    path = home / "objects"
    if exists:
        Environment.open(path, TABLES).close()

    def refuse(store: Path) -> None:
        raise AccessError("network", path=store)

    monkeypatch.setattr(cas.environment, "refuse_network_file_system", refuse)
    for read_only in (False, True):
        with pytest.raises(AccessError, match="network"):
            Environment.open(path, TABLES, read_only=read_only)
    assert path.exists() == exists
    Environment.open(path, TABLES, force_network=True).close()


# -- odd places --------------------------------------------------------------------------------


def test_the_lock_file_may_be_lost_or_spoiled(path: Path) -> None:
    """It holds nothing that outlives the processes that use it."""
    lock = path / "g1" / "lock.mdb"
    for spoiled in (None, b"", b"\0" * 100, b"\xff" * 9000, os.urandom(32896)):
        lock.unlink(missing_ok=True)
        if spoiled is not None:
            lock.write_bytes(spoiled)
            lock.chmod(0o600)
        with Environment.open(path, TABLES) as environment:
            assert environment.read(partial(get, b"key")) == b"value"
            environment.write(partial(put, b"other", b"value"))


@pytest.mark.parametrize("name", ["with space", "üñí", "new\nline", "-dash", "%s{x}", "n" * 200])
def test_odd_names_are_fine(home: Path, name: str) -> None:
    with Environment.open(home / name / "objects", TABLES) as environment:
        environment.write(partial(put, b"key", b"value"))
        assert environment.read(partial(get, b"key")) == b"value"


@pytest.mark.parametrize("name", ["n" * 300, "loop"])
def test_impossible_names_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(HiveError):
        Environment.open(tmp_path / name, TABLES)


def test_a_relative_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Environment.open(Path("objects"), TABLES) as environment:
        monkeypatch.chdir("/")
        environment.write(partial(put, b"key", b"value"))
        assert environment.path == tmp_path.resolve() / "objects"
        assert in_child(lambda: repr(environment.read(partial(get, b"key")))) == "+b'value'"


def test_a_copy_of_a_store_is_a_store(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "copy")
    with Environment.open(tmp_path / "copy", TABLES) as copy:
        copy.write(partial(put, b"key", b"of the copy"))
    with Environment.open(path, TABLES) as original:
        assert original.read(partial(get, b"key")) == b"value"
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


# -- containers --------------------------------------------------------------------------------

CONTAINER = """
import sys
from pathlib import Path
from cas.environment import Environment, Table
from cas.errors import HiveError
try:
    with Environment.open(Path(sys.argv[1]), [Table("rows")]):
        print("open", flush=True)
        sys.stdin.read()
except HiveError as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""


def container(path: Path) -> subprocess.Popen[str]:
    """Start a process that is number 1 among those it sees, and has the store open."""
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("this machine gives a process no numbers of its own")
    return subprocess.Popen(
        [*alone, sys.executable, "-c", CONTAINER, str(path)],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@needs_root
def test_a_second_process_of_one_number_is_told_why_it_is_refused(path: Path) -> None:
    first = container(path)
    assert first.stdout is not None
    assert first.stdout.readline() == "open\n"
    said, _ = container(path).communicate()
    assert said.startswith("AccessError: a process of another container has"), said
    assert "same number as this one, 1," in said
    with Environment.open(path, TABLES) as environment:
        assert environment.read(partial(get, b"key")) == b"value"
    first.communicate()
    said, _ = container(path).communicate()
    assert said == "open\n"
