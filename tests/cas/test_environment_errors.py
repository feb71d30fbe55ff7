"""Exceptions of LMDB and the operating system, as the project's own."""

from __future__ import annotations

import errno
import os
import resource
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

from cas.environment import Environment, Table, WriteTransaction
from cas.errors import (
    AccessError,
    CorruptStoreError,
    HiveError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    ReadOnlyStoreError,
    StoreFullError,
    UnsupportedFormatError,
)
from cas.failures import translate
from tests.cas.children import in_child, temporary_limit

ROWS = Table("rows")

ERRNOS: list[tuple[int, type[HiveError]]] = [
    (errno.ENOSPC, StoreFullError),
    (errno.EDQUOT, StoreFullError),
    (errno.EFBIG, StoreFullError),
    (errno.EROFS, ReadOnlyStoreError),
    (errno.EACCES, AccessError),
    (errno.EPERM, AccessError),
    (errno.ENOENT, NotFoundError),
    (errno.ENOMEM, LimitError),
    (errno.ENOTDIR, InvalidInputError),
    (errno.ENAMETOOLONG, InvalidInputError),
    (errno.EIO, CorruptStoreError),
    (errno.EAGAIN, AccessError),
    (errno.EMFILE, AccessError),
]
LMDB_ERRORS: list[tuple[type[lmdb.Error], type[HiveError]]] = [
    (lmdb.CorruptedError, CorruptStoreError),
    (lmdb.PageNotFoundError, CorruptStoreError),
    (lmdb.InvalidError, CorruptStoreError),
    (lmdb.PanicError, CorruptStoreError),
    (lmdb.BadTxnError, CorruptStoreError),
    (lmdb.BadDbiError, CorruptStoreError),
    (lmdb.IncompatibleError, CorruptStoreError),
    (lmdb.InvalidParameterError, CorruptStoreError),
    (lmdb.VersionMismatchError, UnsupportedFormatError),
    (lmdb.BadValsizeError, LimitError),
    (lmdb.TxnFullError, LimitError),
    (lmdb.ReadersFullError, LimitError),
]


@pytest.mark.parametrize(("number", "kind"), ERRNOS)
def test_errors_of_the_system_are_translated(
    tmp_path: Path, number: int, kind: type[HiveError]
) -> None:
    found = translate(OSError(number, os.strerror(number), "file"), tmp_path)
    assert type(found) is kind
    assert os.strerror(number) in str(found)
    assert str(tmp_path) in str(found)
    same = lmdb.Error("mdb_txn_commit")
    same.code = number  # type: ignore[misc] # LMDB's binding sets it from within.
    assert type(translate(same, tmp_path)) is kind


@pytest.mark.parametrize(("error", "kind"), LMDB_ERRORS)
def test_errors_of_lmdb_are_translated(
    tmp_path: Path, error: type[lmdb.Error], kind: type[HiveError]
) -> None:
    assert type(translate(error("mdb_get"), tmp_path)) is kind


def test_every_error_of_lmdb_has_a_translation(tmp_path: Path) -> None:
    pending = [lmdb.Error]
    seen = 0
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        assert isinstance(translate(kind("what"), tmp_path), HiveError)
        seen += 1
    assert seen > 20


def test_a_denial_names_path_owner_and_mode(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o751)
    found = translate(PermissionError(errno.EACCES, "denied"), tmp_path / "locked" / "store")
    uid = os.geteuid()
    assert f"{tmp_path / 'locked'} has owner uid {uid} and mode 0751" in str(found)
    assert f"runs as uid {uid}" in str(found)


def put(size: int, tx: WriteTransaction) -> None:
    tx.put(ROWS, b"key", b"x" * size)


def test_a_limit_on_files_is_not_told_as_a_full_disk(tmp_path: Path) -> None:
    told = str(translate(OSError(errno.EFBIG, os.strerror(errno.EFBIG)), tmp_path))
    assert "ulimit -f" in told
    assert "that disk" not in told


def test_after_a_failed_commit_the_file_is_opened_anew(home: Path) -> None:
    """A second sync after a failed one reports success for pages that were never written."""

    def work() -> str:
        with Environment.open(home / "objects", [ROWS]) as environment:
            environment.write(partial(put, 10))
            handle = environment._handle
            assert handle is not None
            before = handle._database
            with temporary_limit(resource.RLIMIT_FSIZE, 1 << 20):
                with pytest.raises(StoreFullError) as caught:
                    environment.write(partial(put, 2 << 20))
                assert isinstance(caught.value.__cause__, lmdb.Error)
                assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"x" * 10
            assert handle._database is not before
            environment.write(partial(put, 2 << 20))
        return "done"

    assert in_child(work) == "+done"


def address_bytes() -> int:
    """Return how much of its address space this process takes, what it was forked with included."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def test_a_map_that_addresses_do_not_suffice_for_begins_smaller(home: Path) -> None:
    def work() -> str:
        with temporary_limit(resource.RLIMIT_AS, address_bytes() + (1 << 30)):
            with Environment.open(home / "objects", [ROWS], map_size=1 << 33) as environment:
                environment.write(partial(put, 2 << 20))
                return str(environment.read(lambda tx: len(tx.get(ROWS, b"key") or b"")))

    assert in_child(work) == f"+{2 << 20}"
    Environment.open(home / "objects", [ROWS]).close()


def test_too_little_address_space_is_a_limit_and_no_damage(home: Path) -> None:
    """LMDB has given up the old map by then, and its environment with it."""

    def work() -> str:
        def fill(environment: Environment) -> None:
            for number in range(200):
                key = b"%d" % number
                environment.write(partial(WriteTransaction.put, table=ROWS, key=key, value=chunk))

        chunk = bytes(1_000_000)
        taken = address_bytes()
        with Environment.open(home / "objects", [ROWS], map_size=1 << 20) as environment:
            environment.write(partial(put, 10))
            with temporary_limit(resource.RLIMIT_AS, taken + (40 << 20)):
                with pytest.raises(LimitError, match="the memory map of"):
                    fill(environment)
                assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"x" * 10
                environment.write(partial(put, 20))
        return "told"

    assert in_child(work) == "+told"


def test_a_reader_that_cannot_register_now_does_not_read_as_if_nobody_wrote(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where the lock file can never be used is it done without."""
    path = home / "objects"
    with Environment.open(path, [ROWS]) as environment:
        environment.write(partial(put, 10))
    opened = os.open

    def crowded(place: Path, *arguments: Any, **options: Any) -> int:
        if Path(place).name == "lock.mdb":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(place))
        return opened(place, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", crowded)
        with pytest.raises(AccessError, match=r"close some, or raise the limit \(ulimit -n\)"):
            Environment.open(path, [ROWS], read_only=True)
    with Environment.open(path, [ROWS], read_only=True) as environment:
        assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"x" * 10


def test_a_generation_that_cannot_be_read_is_no_error_of_the_system(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a file of a server that was started anew."""

    def stale(*_arguments: int) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with Environment.open(home / "objects", [ROWS]) as environment:
        environment.write(partial(put, 10))
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", stale)
            with pytest.raises(AccessError, match=os.strerror(errno.ESTALE)):
                environment.read(lambda tx: tx.get(ROWS, b"key"))
            with pytest.raises(AccessError, match=os.strerror(errno.ESTALE)):
                environment.write(partial(put, 20))
        environment.write(partial(put, 30))
        assert environment.read(lambda tx: tx.get(ROWS, b"key")) == b"x" * 30


def test_too_many_open_files_is_a_clear_error(home: Path) -> None:
    Environment.open(home / "objects", [ROWS]).close()

    def work() -> str:
        # How many are open already differs: a test runner's worker has dozens.
        for limit in range(5, 1_000, 5):
            with temporary_limit(resource.RLIMIT_NOFILE, limit):
                try:
                    Environment.open(home / "objects", [ROWS]).close()
                except HiveError:
                    continue
            return "opened"
        return "never opened"

    assert in_child(work) == "+opened"
