"""Transactions over tables: what is stored, found, listed, refused and verified."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lmdb
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from cas.environment import Environment, ReadTransaction, Table, WriteTransaction
from cas.errors import CorruptStoreError, InvalidInputError, LimitError

CHECKED = Table("checked")
PLAIN = Table("plain", checked=False)
BOTH = pytest.mark.parametrize("table", [CHECKED, PLAIN], ids=["checked", "plain"])


@pytest.fixture
def environment(home: Path) -> Iterator[Environment]:
    with Environment.open(home / "objects", [CHECKED, PLAIN]) as opened:
        yield opened


def fill(environment: Environment, table: Table, *keys: bytes) -> None:
    def work(tx: WriteTransaction) -> None:
        for key in keys:
            tx.put(table, key, b"value of " + key)

    environment.write(work)


@BOTH
def test_what_is_put_is_got_and_what_is_deleted_is_gone(
    environment: Environment, table: Table
) -> None:
    environment.write(lambda tx: tx.put(table, b"key", b"value"))
    assert environment.read(lambda tx: tx.get(table, b"key")) == b"value"
    assert environment.read(lambda tx: tx.count(table)) == 1
    environment.write(lambda tx: tx.put(table, b"key", b""))
    assert environment.read(lambda tx: tx.get(table, b"key")) == b""
    assert environment.write(lambda tx: tx.delete(table, b"key")) is True
    assert environment.write(lambda tx: tx.delete(table, b"key")) is False
    assert environment.read(lambda tx: tx.get(table, b"key")) is None


@BOTH
def test_seeking_finds_the_neighbours(environment: Environment, table: Table) -> None:
    fill(environment, table, b"b", b"d")

    def seek(tx: ReadTransaction, key: bytes) -> tuple[bytes | None, bytes | None]:
        after, before = tx.first_at_or_after(table, key), tx.last_at_or_before(table, key)
        return after and after[0], before and before[0]

    def seek_all(tx: ReadTransaction) -> dict[bytes, tuple[bytes | None, bytes | None]]:
        return {key: seek(tx, key) for key in (b"", b"a", b"b", b"c", b"d", b"e")}

    assert environment.read(seek_all) == {
        b"": (b"b", None),
        b"a": (b"b", None),
        b"b": (b"b", b"b"),
        b"c": (b"d", b"b"),
        b"d": (b"d", b"d"),
        b"e": (None, b"d"),
    }
    assert environment.read(lambda tx: tx.first_at_or_after(table, b"c")) == (b"d", b"value of d")


@BOTH
def test_seeking_in_an_empty_table_finds_nothing(environment: Environment, table: Table) -> None:
    assert environment.read(lambda tx: tx.first_at_or_after(table, b"")) is None
    assert environment.read(lambda tx: tx.last_at_or_before(table, b"\xff")) is None
    assert environment.read(lambda tx: list(tx.items(table))) == []
    assert environment.read(lambda tx: list(tx.items(table, reverse=True))) == []


SOME = st.sets(st.text("abc", min_size=2, max_size=4).map(str.encode), max_size=20)


@given(SOME, st.sets(st.text("abcd", min_size=2, max_size=2).map(str.encode)))
@settings(max_examples=60)
def test_groups_are_the_rows_under_each_prefix(
    tmp_path_factory: pytest.TempPathFactory, keys: set[bytes], prefixes: set[bytes]
) -> None:
    with Environment.open(tmp_path_factory.mktemp("store") / "s", [CHECKED]) as environment:
        fill(environment, CHECKED, *keys)
        expected = {
            prefix: [b"value of " + key for key in sorted(keys) if key.startswith(prefix)]
            for prefix in prefixes
        }
        assert environment.read(lambda tx: tx.groups(CHECKED, prefixes)) == expected
        assert environment.write(lambda tx: tx.groups(CHECKED, prefixes)) == expected


@BOTH
def test_appending_keeps_the_order_and_refuses_to_break_it(
    environment: Environment, table: Table
) -> None:
    def append(key: bytes, tx: WriteTransaction) -> None:
        tx.append(table, key, b"2")

    environment.write(lambda tx: tx.append(table, b"b", b"1"))
    for key in (b"a", b"b"):
        with pytest.raises(InvalidInputError, match="cannot be appended"):
            environment.write(partial(append, key))
    environment.write(lambda tx: tx.append(table, b"c", b"3"))
    assert environment.read(lambda tx: list(tx.items(table))) == [(b"b", b"1"), (b"c", b"3")]


def test_appended_rows_fill_their_pages(environment: Environment) -> None:
    rows = [(i.to_bytes(8, "big"), b"x" * 100) for i in range(5000)]

    def work(tx: WriteTransaction) -> None:
        for key, value in rows:
            tx.append(PLAIN, key, value)

    before = environment.disk_bytes()
    environment.write(work)
    # 100 + 8 bytes and LMDB's 10 of each row: put one by one, pages would be half empty.
    assert environment.disk_bytes() - before < 1.1 * 118 * len(rows)


KEYS = st.binary(min_size=1, max_size=3)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete"]), KEYS, st.binary(max_size=6)), max_size=30
)


@settings(max_examples=60)
@given(steps=STEPS, start=st.binary(max_size=3), stop=st.none() | KEYS, probe=KEYS)
def test_a_table_is_a_sorted_dict(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, bytes, bytes]],
    start: bytes,
    stop: bytes | None,
    probe: bytes,
) -> None:
    home = tmp_path_factory.mktemp("model")
    model: dict[bytes, bytes] = {}
    with Environment.open(home / "objects", [CHECKED]) as environment:

        def work(tx: WriteTransaction) -> None:
            model.clear()
            for what, key, value in steps:
                if what == "put":
                    tx.put(CHECKED, key, value)
                    model[key] = value
                else:
                    assert tx.delete(CHECKED, key) == (model.pop(key, None) is not None)
            compare(tx)

        def compare(tx: ReadTransaction) -> None:
            inside = [
                (k, model[k]) for k in sorted(model) if k >= start and (stop is None or k < stop)
            ]
            assert list(tx.items(CHECKED, start, stop)) == inside
            assert list(tx.items(CHECKED, start, stop, reverse=True)) == inside[::-1]
            assert tx.get(CHECKED, probe) == model.get(probe)
            after = [k for k in sorted(model) if k >= probe]
            found = tx.first_at_or_after(CHECKED, probe)
            assert (found and found[0]) == (after[0] if after else None)
            before = [k for k in sorted(model) if k <= probe]
            found = tx.last_at_or_before(CHECKED, probe)
            assert (found and found[0]) == (before[-1] if before else None)
            assert tx.count(CHECKED) == len(model)

        environment.write(work)
        environment.read(compare)


@pytest.mark.parametrize("reverse", [False, True])
def test_rows_may_be_deleted_while_they_are_listed(environment: Environment, reverse: bool) -> None:
    keys = [i.to_bytes(2, "big") for i in range(500)]
    fill(environment, CHECKED, *keys)

    def work(tx: WriteTransaction) -> list[bytes]:
        seen = []
        for key, _ in tx.items(CHECKED, reverse=reverse):
            seen.append(key)
            if int.from_bytes(key, "big") % 3:
                tx.delete(CHECKED, key)
        return seen

    assert environment.write(work) == (keys[::-1] if reverse else keys)
    assert environment.read(lambda tx: tx.count(CHECKED)) == 167


def test_rows_put_ahead_of_a_listing_are_listed(environment: Environment) -> None:
    fill(environment, CHECKED, b"a")

    def work(tx: WriteTransaction) -> list[bytes]:
        seen = []
        for key, _ in tx.items(CHECKED):
            seen.append(key)
            if len(seen) < 5:
                tx.put(CHECKED, key + b"a", b"")
        return seen

    assert environment.write(work) == [b"a" * n for n in range(1, 6)]


def test_listings_of_one_table_do_not_disturb_each_other(environment: Environment) -> None:
    fill(environment, CHECKED, b"a", b"b", b"c")

    def pairs(tx: ReadTransaction) -> list[bytes]:
        return [
            one + two
            for one, _ in tx.items(CHECKED)
            for two, _ in tx.items(CHECKED)
            if tx.get(CHECKED, b"b") and tx.first_at_or_after(CHECKED, b"c")
        ]

    assert environment.read(pairs) == [
        b"aa", b"ab", b"ac", b"ba", b"bb", b"bc", b"ca", b"cb", b"cc",
    ]  # fmt: skip


def test_a_failing_function_changes_nothing(environment: Environment) -> None:
    def work(tx: WriteTransaction) -> None:
        tx.put(CHECKED, b"key", b"value")
        raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        environment.write(work)
    assert environment.read(lambda tx: tx.count(CHECKED)) == 0


@pytest.mark.parametrize("key", [b"", b"x" * 512])
def test_keys_have_1_to_511_bytes(environment: Environment, key: bytes) -> None:
    with pytest.raises(LimitError, match="1 to 511 bytes"):
        environment.write(lambda tx: tx.put(CHECKED, key, b""))
    with pytest.raises(LimitError, match="1 to 511 bytes"):
        environment.write(lambda tx: tx.append(CHECKED, key, b""))
    environment.write(lambda tx: tx.put(CHECKED, b"x" * 511, b"longest"))
    assert environment.read(lambda tx: tx.get(CHECKED, b"x" * 511)) == b"longest"


def test_a_refused_key_does_not_spoil_the_transaction(environment: Environment) -> None:
    def work(tx: WriteTransaction) -> None:
        tx.put(CHECKED, b"before", b"1")
        with pytest.raises(LimitError):
            tx.put(CHECKED, b"x" * 512, b"")
        tx.put(CHECKED, b"after", b"2")

    environment.write(work)
    assert environment.read(lambda tx: tx.count(CHECKED)) == 2


def test_an_unknown_table_is_refused(environment: Environment) -> None:
    with pytest.raises(InvalidInputError, match="without the table 'other'"):
        environment.read(lambda tx: tx.get(Table("other"), b"key"))


def test_table_names_have_1_to_255_bytes() -> None:
    for name in ("", "x" * 256, "nul\0"):
        with pytest.raises(InvalidInputError, match="1 to 255 bytes and no NUL"):
            Table(name)


USES: dict[str, Callable[[WriteTransaction], object]] = {
    "get": lambda tx: tx.get(CHECKED, b"a"),
    "first": lambda tx: tx.first_at_or_after(CHECKED, b"a"),
    "last": lambda tx: tx.last_at_or_before(CHECKED, b"a"),
    "items": lambda tx: list(tx.items(CHECKED)),
    "count": lambda tx: tx.count(CHECKED),
    "put": lambda tx: tx.put(CHECKED, b"a", b""),
    "append": lambda tx: tx.append(CHECKED, b"z", b""),
    "delete": lambda tx: tx.delete(CHECKED, b"a"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("used_before", [False, True])
def test_a_leaked_transaction_is_refused(
    environment: Environment, use: Callable[[WriteTransaction], object], used_before: bool
) -> None:
    leaked: list[WriteTransaction] = []

    def work(tx: WriteTransaction) -> None:
        leaked.append(tx)
        if used_before:
            tx.get(CHECKED, b"a")

    environment.write(work)
    with pytest.raises(InvalidInputError, match="has ended"):
        use(leaked[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_leaked_listing_is_refused(environment: Environment, reverse: bool) -> None:
    fill(environment, CHECKED, b"a", b"b")
    listing = environment.read(lambda tx: tx.items(CHECKED, reverse=reverse))
    with pytest.raises(InvalidInputError, match="has ended"):
        next(listing)

    def begin(tx: ReadTransaction) -> Iterator[tuple[bytes, bytes]]:
        rows = tx.items(CHECKED, reverse=reverse)
        next(rows)
        return rows

    with pytest.raises(InvalidInputError, match="has ended"):
        next(environment.read(begin))


def raw_rows(environment: Environment, table: Table) -> dict[bytes, bytes]:
    """The rows of `table` as LMDB holds them."""
    directory = environment.path / f"g{environment.generation}"
    environment.close()
    with lmdb.open(str(directory), max_dbs=8, readonly=True, lock=False) as raw:
        database = raw.open_db(table.name.encode(), create=False)
        with raw.begin() as transaction:
            return dict(transaction.cursor(database))


def test_a_checked_row_is_checksum_then_value(environment: Environment) -> None:
    environment.write(lambda tx: tx.put(CHECKED, b"key", b"value"))
    framed = b"\x07checked" + b"\x00\x03key" + b"value"
    assert raw_rows(environment, CHECKED) == {b"key": blake3(framed).digest()[:4] + b"value"}


def test_an_unchecked_row_is_its_value(environment: Environment) -> None:
    environment.write(lambda tx: tx.put(PLAIN, b"key", b"value"))
    assert raw_rows(environment, PLAIN) == {b"key": b"value"}


READS: dict[str, Callable[[ReadTransaction], object]] = {
    "get": lambda tx: tx.get(CHECKED, b"key"),
    "first": lambda tx: tx.first_at_or_after(CHECKED, b"k"),
    "last": lambda tx: tx.last_at_or_before(CHECKED, b"l"),
    "items": lambda tx: list(tx.items(CHECKED)),
    "reversed": lambda tx: list(tx.items(CHECKED, reverse=True)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_every_flipped_bit_of_a_checked_row_is_noticed(
    home: Path, read: Callable[[ReadTransaction], object]
) -> None:
    good = CHECKED.seal(b"key", b"value")
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        overwrite(home / "objects", bytes(bad))
        with (
            Environment.open(home / "objects", [CHECKED]) as environment,
            pytest.raises(CorruptStoreError, match="row 6b6579 of table 'checked' is damaged"),
        ):
            environment.read(read)


def overwrite(path: Path, row: bytes) -> None:
    """Store `row`, checksum included, under the key of table "checked"."""
    table = Table(CHECKED.name, checked=False)
    with Environment.open(path, [table]) as environment:
        environment.write(lambda tx: tx.put(table, b"key", row))


@pytest.mark.parametrize("row", [b"", b"abc"])
def test_a_row_shorter_than_its_checksum_is_damaged(home: Path, row: bytes) -> None:
    overwrite(home / "objects", row)
    with Environment.open(home / "objects", [CHECKED]) as environment:
        with pytest.raises(CorruptStoreError, match="damaged"):
            environment.read(lambda tx: tx.get(CHECKED, b"key"))


def test_a_row_in_the_wrong_place_is_damaged() -> None:
    row = CHECKED.seal(b"key", b"value")
    assert CHECKED.unseal(b"key", row) == b"value"
    with pytest.raises(CorruptStoreError):
        CHECKED.unseal(b"other", row)
    with pytest.raises(CorruptStoreError):
        Table("elsewhere").unseal(b"key", row)


@given(
    name=st.text(st.characters(codec="utf-8", min_codepoint=1), min_size=1, max_size=9),
    key=KEYS,
    value=st.binary(max_size=99),
)
def test_sealing_is_undone_by_unsealing(name: str, key: bytes, value: bytes) -> None:
    table = Table(name)
    assert table.unseal(key, table.seal(key, value)) == value


def test_large_values_survive(environment: Environment) -> None:
    value = os.urandom(3_000_000)
    environment.write(lambda tx: tx.put(CHECKED, b"key", value))
    assert environment.read(lambda tx: tx.get(CHECKED, b"key")) == value
