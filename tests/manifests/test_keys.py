"""Runs of a framework: its own sortable ids find, order and replace checkpoints."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest
from blake3 import blake3

from cas.errors import ConflictError, InvalidInputError, NotFoundError
from manifests import Checkpoint, PendingWrite, Repository, RetentionPolicy
from manifests.effects import EFFECTS
from manifests.names import name_key
from manifests.pending_rows import PENDING
from manifests.rows import KEYS

UUID = "1f0a0000-0000-6000-8000-00000000000a"


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """An empty repository."""
    with Repository.open(home) as opened:
        yield opened


def chain(repo: Repository, keys: str, *, needs_parent: bool = False) -> list[Checkpoint]:
    """Commit one checkpoint for each letter, each behind the one before."""
    made: list[Checkpoint] = []
    for key in keys:
        parent = ("run", keys[len(made) - 1]) if made else None
        needs = needs_parent and bool(made)
        made.append(repo.commit("run", {"k": key}, key=key, parent=parent, needs_parent=needs))
    return made


def test_the_newest_is_the_one_with_the_greatest_key(repo: Repository) -> None:
    chain(repo, "bdf")
    repo.commit("run", {"k": "c"}, key="c", parent=("run", "b"))
    assert repo.resolve("run").key == "f"
    assert [found.key for found in repo.log("run")] == ["f", "d", "c", "b"]
    assert [found.sequence for found in repo.log("run")] == [3, 2, 4, 1]
    assert repo.restore(("run", "c")) == repo.restore("run@c") == {"k": "c"}
    assert repo.restore("run@4") == {"k": "c"}
    assert repo.runs()[0].checkpoints == 4
    with pytest.raises(NotFoundError, match="has no checkpoint 'e'"):
        repo.restore(("run", "e"))


@pytest.mark.parametrize(
    ("below", "limit", "expected"),
    [("d", None, "cb"), ("e", 1, "d"), ("a", None, ""), ("z", 2, "fd"), (4, None, "b")],
)
def test_a_log_begins_where_asked(
    repo: Repository, below: str | int, limit: int | None, expected: str
) -> None:
    chain(repo, "bdf")
    repo.commit("run", {"k": "c"}, key="c", parent=("run", "b"))
    found = repo.log("run", below=below, limit=limit)
    assert "".join(checkpoint.key or "" for checkpoint in found) == expected


def test_a_log_without_keys_begins_below_a_sequence(repo: Repository) -> None:
    for number in range(4):
        repo.commit("plain", {"n": number})
    assert [found.sequence for found in repo.log("plain", below=3)] == [2, 1]
    with pytest.raises(InvalidInputError, match="no keys"):
        repo.log("plain", below="b")


def test_a_key_that_is_there_has_its_checkpoint_replaced(repo: Repository) -> None:
    first = chain(repo, "abc")
    again = repo.commit("run", {"k": "another"}, key="b", parent=("run", "a"))
    assert again.sequence == first[1].sequence
    assert again.id != first[1].id
    assert repo.resolve("run").key == "c"
    assert repo.restore(("run", "b")) == {"k": "another"}
    assert [found.key for found in repo.log("run")] == ["c", "b", "a"]
    assert repo.gc().objects_removed == 1
    assert repo.check().ok


def test_a_pin_goes_over_to_what_replaces_its_checkpoint(repo: Repository) -> None:
    for key in "abc":
        repo.commit("run", {"key": key}, key=key)
    repo.pin(("run", "a"), "audit")
    again = repo.commit("run", {"key": "a", "again": True}, key="a")
    assert [(pin.checkpoint.id, pin.reason) for pin in repo.pins()] == [(again.id, "audit")]
    repo.forget(RetentionPolicy(mode="latest_only"))
    assert [found.key for found in repo.log("run")] == ["c", "a"]
    repo.gc()
    assert repo.restore(again.id) == {"key": "a", "again": True}
    repo.unpin(again.id)
    assert repo.pins() == []


def test_a_pin_of_a_withdrawn_checkpoint_is_still_listed(repo: Repository) -> None:
    repo.commit("r", {"n": 1}, key="a", parent=None)
    repo.commit("r", {"n": 2}, key="b", parent=("r", "a"))
    pinned = repo.pin("r@1", "why")
    repo.withdraw("r", ["a"])
    assert [(pin.checkpoint.id, pin.reason) for pin in repo.pins()] == [(pinned.id, "why")]


def test_a_tag_keeps_what_was_withdrawn_and_not_its_place(repo: Repository) -> None:
    chain(repo, "ab", needs_parent=True)
    repo.commit("run", {"k": "c"}, key="c", parent=("run", "b"))
    tagged = repo.tag("kept", ("run", "a"))
    repo.withdraw("run", ["a"])
    with pytest.raises(NotFoundError, match="forgotten already"):
        repo.forget(["tag:kept"])
    policy = RetentionPolicy(mode="latest_only")
    told = repo.forget(policy, dry_run=True)
    assert [verdict.keep for verdict in told.verdicts] == [True, False, False]
    assert repo.forget(policy).verdicts == told.verdicts
    repo.gc()
    assert repo.resolve("tag:kept").id == tagged.id
    assert repo.restore("tag:kept") == {"k": "a"}
    assert repo.check().ok


def test_what_is_needed_stays(repo: Repository, tmp_path: Path) -> None:
    chain(repo, "abcd", needs_parent=True)
    plan = repo.forget(RetentionPolicy(mode="latest_only"))
    assert {reason.rule for found in plan.verdicts[1:] for reason in found.reasons} == {"needed"}
    fork = repo.fork(("run", "c"), "copy")
    assert [found.key for found in repo.log("copy")] == ["c", "b", "a"]
    assert fork.key == "c"
    repo.delete_run("run")
    assert repo.restore(("copy", "a")) == {"k": "a"}
    with pytest.raises(InvalidInputError, match="needs a parent"):
        repo.commit("other", {}, key="a", parent=None, needs_parent=True)


def test_branches_are_known_by_their_ends(repo: Repository) -> None:
    chain(repo, "ab")
    repo.commit("run", {"k": "d"}, key="d", parent=("run", "a"))
    repo.commit("run", {"k": "c"}, key="c", parent=("run", "b"))
    tips = [
        found.checkpoint.key
        for found in repo.forget(RetentionPolicy(mode="latest_only"), dry_run=True).verdicts
        if "tip" in [reason.rule for reason in found.reasons]
    ]
    assert tips == ["c"]


def test_by_default_the_parent_is_the_head_as_last_seen(repo: Repository, home: Path) -> None:
    assert repo.commit("run", {}, key="a").parent is None
    second = repo.commit("run", {}, key="b")
    assert second.parent == repo.resolve("run@1").id
    with Repository.open(home) as other:
        other.commit("run", {}, key="c")
    with pytest.raises(ConflictError):
        repo.commit("run", {}, key="d")
    repo.resolve("run")
    assert repo.commit("run", {}, key="d").sequence == 4


def test_fencing_refuses_a_parent_that_is_not_the_head(repo: Repository) -> None:
    chain(repo, "ab")
    with pytest.raises(ConflictError, match="not the head"):
        repo.commit("run", {}, key="c", parent=("run", "a"), extends_head=True)
    with pytest.raises(ConflictError, match="not the head"):
        repo.commit("run", {}, key="c", parent=None, extends_head=True)
    stale = repo.prepare("run", {}, key="c", parent=("run", "b"), extends_head=True)
    repo.commit("run", {}, key="d", parent=("run", "b"), extends_head=True)
    with pytest.raises(ConflictError):
        repo.write(stale)
    assert [found.key for found in repo.log("run")] == ["d", "b", "a"]


def test_several_writers_lose_nothing(repo: Repository, home: Path) -> None:
    repo.commit("run", {}, key="0", parent=None)
    others = [Repository.open(home) for _ in range(4)]

    def work(writer: Repository, name: str) -> None:
        for number in range(10):
            writer.commit("run", {"by": name}, key=f"{name}{number}", parent=("run", "0"))

    threads = [
        threading.Thread(target=work, args=(writer, name))
        for writer, name in zip(others, "abcd", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for writer in others:
        writer.close()
    assert len(repo.log("run")) == 41
    assert repo.resolve("run").key == "d9"
    assert repo.check().ok


def test_runs_with_and_without_keys_do_not_mix(repo: Repository) -> None:
    repo.commit("run", {}, key="a", parent=None)
    with pytest.raises(InvalidInputError, match="keys that its framework"):
        repo.commit("run", {})
    repo.commit("plain", {})
    with pytest.raises(InvalidInputError, match="have no keys"):
        repo.commit("plain", {}, key="a", parent=None)
    repo.commit("elsewhere", {}, key="a", parent=None)
    with pytest.raises(InvalidInputError, match="not one of run"):
        repo.commit("run", {}, key="b", parent=("elsewhere", "a"))
    for key in ("", "k" * 256, "a\nb"):
        with pytest.raises(InvalidInputError):
            repo.commit("run", {}, key=key, parent=None)


def test_parts_of_composite_keys_do_not_run_together(repo: Repository) -> None:
    repo.commit("a/b", {"n": 1}, key="c", parent=None)
    repo.commit("a", {"n": 2}, key="b/c", parent=None)
    assert repo.restore(("a/b", "c")) == {"n": 1}
    assert repo.restore(("a", "b/c")) == {"n": 2}
    assert len(repo.log("a")) == len(repo.log("a/b")) == 1


@pytest.mark.parametrize(
    "text",
    [UUID, UUID.upper(), "z" * 36, "0" * 36, "-" * 4 + "0" * 32, UUID.replace("-", " "), UUID[:35]],
)
def test_what_looks_like_a_uuid_comes_back_letter_by_letter(repo: Repository, text: str) -> None:
    repo.commit("run", {"n": 1}, key=text, parent=None)
    repo.put_pending("run", text, [PendingWrite(text, 0, "x", "y")])
    assert repo.keys("run") == [text]
    assert repo.resolve(("run", text)).key == text
    assert [write.task for write in repo.pending("run", text)] == [text]


def test_rows_have_the_bytes_that_the_format_says(repo: Repository) -> None:
    """Pinned: another reader is written after docs/format.md."""
    repo.commit("run", {}, key=UUID, parent=None)
    repo.put_pending("run", UUID, [PendingWrite(UUID, -3, "x", "y", "p")])
    repo.put_pending("run", "b", [PendingWrite("t", 0, "n", "long " * 60)])
    repo.record_effect("run", "paid", 1)
    repo.record_effect("run", "seen", ["z" * 100])
    rows = {
        table.name: {
            key.hex(): cbor2.loads(row) if table is not KEYS else row.hex()
            for key, row in repo._store.read(
                lambda reader, table=table: list(reader.transaction.items(table))  # type: ignore[misc]
            )
        }
        for table in (KEYS, PENDING, EFFECTS)
    }
    packed = bytes.fromhex(UUID.replace("-", ""))
    ((key, row), (other, second)) = sorted(rows["pending"].items(), reverse=True)
    slot = blake3(b"\0\x01p" + UUID.encode()).hexdigest()[:32]
    assert key == "00000001" + "02" + packed.hex() + slot
    assert row == ["p", packed, [-3, "x", bytes.fromhex("6179")]]
    assert other == "00000001" + "01" + "0162" + blake3(b"\0\0t").hexdigest()[:32]
    number, digest = second[2][2]
    assert second == ["", "t", [0, "n", [number, digest]]]
    assert (number, len(digest)) == (2, 32)
    assert rows["keys"] == {"00000001" + UUID.encode().hex(): "00000001"}
    assert rows["effects"] == {
        "00000001" + b"paid".hex(): ["paid", 1, b"\x01"],
        "00000001" + b"seen".hex(): ["seen", 1, b"\x81\x78\x64" + b"z" * 100],
    }


def test_runs_with_long_names_are_found_by_what_they_begin_with(repo: Repository) -> None:
    """A long name is cut in its key, before a digest, which may begin with any bytes."""
    stem = "long " * 100
    names = (f"{stem}{number}" for number in itertools.count())
    highest = next(name for name in names if name_key(name, "run name")[449] == 0xFF)
    for name in (stem, highest, "other"):
        repo.commit(name, 1, key="1", parent=None)
    assert repo.keyed_runs(stem) == {stem: "1", highest: "1"}
    assert repo.keyed_runs("long ") == {stem: "1", highest: "1"}
