"""Names: of runs, tags and nodes, up to their limits, and never mistaken for each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import InvalidInputError, LimitError
from manifests import Repository
from manifests.catalogue import CatalogueWriter
from manifests.names import MAX_NAME_BYTES, check_name, name_key
from manifests.rows import HIGHEST_NUMBER

GOOD = {
    "one byte": "x",
    "the most bytes": "x" * 1_024,
    "the most bytes in wide characters": "𝄞" * 256,
    "a path": "../../etc/passwd",
    "an absolute path": "/etc/passwd",
    "quotes and backslashes": "'\"\\%s{}$(x)`",
    "right to left": "\u202eabc",
    "combining": "e\u0301",
    "composed": "\u00e9",
    "no-break space": "\u00a0",
    "byte order mark": "\ufeff",
    "private use": "\ue000",
    "noncharacter": "\uffff",
    "last of all": "\U0010ffff",
}
BAD: dict[str, Any] = {
    "empty": "",
    "a byte too long": "x" * 1_025,
    "a byte too long in wide characters": "𝄞" * 256 + "x",
    "very long": "x" * 300_000,
    "NUL": "a\0b",
    "newline": "a\nb",
    "escape": "\x1b[31m",
    "delete": "a\x7f",
    "C1 control": "a\x9b31m",
    "lone surrogate": "a\ud800",
    "bytes": b"run",
    "None": None,
    "a number": 3,
    "a list": ["run"],
}


@pytest.mark.parametrize("name", GOOD.values(), ids=GOOD)
def test_a_good_name_serves_for_runs_tags_and_nodes(repo: Repository, name: str) -> None:
    checkpoint = repo.commit(name, "state", node=name, kind=name, next_nodes=[name], graph=name)
    assert (checkpoint.run, checkpoint.node, checkpoint.kind) == (name, name, name)
    repo.tag(name, (name, 1))
    fork = repo.fork((name, 1), name + "2" if len(name.encode()) < 1_024 else "2")
    assert fork.origin_run == name
    repo.close()
    with Repository.open(repo.home) as again:
        assert again.resolve(name) == checkpoint
        assert again.resolve(name).next_nodes == (name,)
        assert again.tags() == {name: checkpoint}
        assert name in [info.name for info in again.runs()]
        assert again.resolve(f"tag:{name}") == checkpoint


@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
def test_a_bad_name_is_refused_everywhere(repo: Repository, name: Any) -> None:
    repo.commit("r", 1)
    for use in (
        lambda: repo.commit(name, 1),
        lambda: repo.prepare(name, 1),
        lambda: repo.commit("r", 1, kind=name),
        lambda: repo.commit("r", 1, next_nodes=["fine", name]),
        lambda: repo.fork("r", name),
        lambda: repo.tag(name, "r"),
        lambda: repo.untag(name),
        lambda: repo.log(name),
    ):
        with pytest.raises(InvalidInputError) as caught:
            use()
        assert str(caught.value).isprintable(), "an error never repeats control characters"
    if name is not None:
        with pytest.raises(InvalidInputError):
            repo.commit("r", 1, node=name)
        with pytest.raises(InvalidInputError):
            repo.commit("r", 1, graph=name)
    assert [info.checkpoints for info in repo.runs()] == [1]
    assert repo.tags() == {}


def test_the_limit_is_in_bytes(repo: Repository) -> None:
    assert MAX_NAME_BYTES == 1_024
    assert repo.commit("ä" * 512, 1).sequence == 1
    with pytest.raises(InvalidInputError, match="1 to 1024 bytes, not 1026"):
        repo.commit("ä" * 513, 1)


@pytest.mark.parametrize("shared", [446, 447, 448, 449, 500, 1_000])
def test_names_that_share_a_long_prefix_are_different_runs(repo: Repository, shared: int) -> None:
    names = ["p" * shared + end for end in ("", "a", "b", "aa", "\xff", "ÿ", "z" * 20)]
    for number, name in enumerate(dict.fromkeys(names)):
        repo.commit(name, number)
        repo.tag(name, name)
    for number, name in enumerate(dict.fromkeys(names)):
        assert repo.restore(name) == number
        assert repo.restore((name, 1)) == number
        assert repo.tags()[name].run == name
    assert {info.name for info in repo.runs()} == set(names)


def test_names_are_compared_as_bytes(repo: Repository) -> None:
    alike = ["a", "A", "\u00e9", "e\u0301", "a ", " a", "ﬁ", "fi", "K", "\u212a"]
    for number, name in enumerate(alike):
        repo.commit(name, number)
    for number, name in enumerate(alike):
        assert repo.restore(name) == number
    assert len(repo.runs()) == len(alike)


NAMES = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=600).filter(
    lambda text: len(text.encode()) <= MAX_NAME_BYTES
)


@given(NAMES, NAMES, st.integers(0, 1_000))
def test_keys_of_names_fit_and_differ_where_names_do(one: str, other: str, padding: int) -> None:
    padded = ("x" * padding + one)[:MAX_NAME_BYTES]
    names = [one, other]
    if len(padded.encode()) <= MAX_NAME_BYTES:
        names += [padded, padded[:-1] + "y"]
    names = [name for name in names if 0 < len(name.encode()) <= MAX_NAME_BYTES]
    keys = {name: name_key(name, "run name") for name in names}
    assert all(1 <= len(key) <= 511 for key in keys.values())
    assert len(set(keys.values())) == len(keys)
    for name in names:
        assert check_name(name, "run name") == name.encode()


def test_a_store_whose_numbers_for_runs_are_used_up_says_what_to_do(repo: Repository) -> None:
    repo.commit("first", {})
    repo._store.write(
        lambda writer: CatalogueWriter(writer.writing).put_next_run(HIGHEST_NUMBER - 1)
    )
    repo.commit("last", {})
    with pytest.raises(LimitError, match=r"at most 4,294,967,294 runs.*go on in another store"):
        repo.commit("one more", {})
    assert [run.name for run in repo.runs()] == ["first", "last"]
    assert repo.commit("last", {"a": 1}).sequence == 2
    assert repo.check().ok
