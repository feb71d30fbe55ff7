"""References: every form, names that look like one, and what an error says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cas.records
import cas.writer
import manifests.refs
from cas.digest import Digest
from cas.errors import HiveError, InvalidInputError, NotFoundError
from manifests import Checkpoint, Repository
from manifests.names import name_key
from tests.damage import Vandal


@pytest.fixture
def chain(repo: Repository) -> list[Checkpoint]:
    return [repo.commit("run", number) for number in range(1, 13)]


def test_every_form_of_reference(repo: Repository, chain: list[Checkpoint]) -> None:
    third = chain[2]
    repo.tag("t", third)
    forms: list[Any] = [
        "run@3",
        "run~9",
        "run@5~2",
        "run@12~9",
        "run~4~5",
        "run~0~9~0",
        "tag:t",
        str(third.id),
        str(third.id)[:6],
        str(third.id)[:7],
        str(third.id)[:63],
        f"{str(third.id)[:10]}~0",
        f"{chain[3].id}~1",
        third,
        third.id,
        ("run", 3),
    ]
    for form in forms:
        assert repo.resolve(form) == third, form
        assert repo.restore(form) == 3
    assert repo.resolve("run") == repo.resolve("run~0") == chain[-1]
    assert repo.resolve("run~11") == chain[0]


@pytest.mark.parametrize(
    "name",
    [
        "bob@3",
        "run@2",
        "tag:t",
        "tag:",
        "deadbeef",
        "a~1",
        "run~1",
        "~1",
        "@1",
        "run@1~1",
        "../etc/passwd",
        "/",
        ".",
        " ",
        "a b",
        "ﬁ",
        "\u202egnp.exe",
        "RUN",
        "run\u00a0",
    ],
)
def test_an_exact_run_name_wins(repo: Repository, chain: list[Checkpoint], name: str) -> None:
    repo.tag("t", chain[4])
    mine = repo.commit(name, "mine")
    older = repo.commit(name, "newer")
    assert repo.resolve(name) == older
    assert repo.resolve((name, 1)) == mine
    if not name.startswith("tag:"):  # `tag:t@1` is the tag `t@1`
        assert repo.resolve(f"{name}@1") == mine
        assert repo.resolve(f"{name}~1") == mine
    assert repo.restore("run") == 12
    assert repo.tags()["t"] == chain[4]
    assert [info.name for info in repo.runs()] == sorted({"run", name}, key=str.encode)


def test_a_run_with_the_name_of_an_id_wins_and_the_id_is_still_found(
    repo: Repository, chain: list[Checkpoint]
) -> None:
    target = chain[3]
    prefix = str(target.id)[:8]
    named = repo.commit(prefix, "a run of that name")
    assert repo.resolve(prefix) == named
    assert repo.resolve(str(target.id)[:9]) == target
    assert repo.resolve(target.id) == target


def test_a_run_with_the_name_of_a_tag_hides_it_from_references_alone(
    repo: Repository, chain: list[Checkpoint]
) -> None:
    hiding = repo.commit("tag:t", "a run of that name")
    assert repo.tag("t", chain[1]) == chain[1]
    assert repo.resolve("tag:t") == hiding
    assert repo.tags() == {"t": chain[1]}
    repo.untag("t")
    assert repo.tags() == {}


def test_an_ambiguous_prefix_lists_the_candidates(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ids that share six hex digits would take thousands of commits to find; two digits are enough.
    found: dict[str, Checkpoint] = {}
    monkeypatch.setattr(manifests.refs, "_ID_PREFIX", re.compile("[0-9a-f]{2,64}"))
    pair = None
    for number in range(300):
        checkpoint = repo.commit("r", number)
        pair = found.setdefault(str(checkpoint.id)[:2], checkpoint), checkpoint
        if pair[0] != checkpoint:
            break
    assert pair is not None
    with pytest.raises(InvalidInputError, match="ambiguous") as caught:
        repo.resolve(str(pair[0].id)[:2])
    for checkpoint in pair:
        assert f"{checkpoint.id.short} (r@{checkpoint.sequence})" in str(caught.value)
    for checkpoint in pair:
        assert repo.resolve(str(checkpoint.id)[:16]) == checkpoint


def test_a_checkpoint_in_two_runs_is_one_candidate(
    repo: Repository, chain: list[Checkpoint]
) -> None:
    repo.fork("run@3", "fork")
    assert repo.resolve(str(chain[2].id)[:12]) == chain[2], "where it was first saved"
    assert repo.resolve(("fork", 1)).id == chain[2].id


@pytest.mark.parametrize(
    ("ref", "error", "says"),
    [
        ("nobody", NotFoundError, "there is no run 'nobody'"),
        ("run@13", NotFoundError, "has no checkpoint 13; its last is 12"),
        ("run@0", NotFoundError, "there is no run 'run@0'"),
        ("run@-1", NotFoundError, "there is no run"),
        ("run@4294967296", NotFoundError, "has no checkpoint 4294967296"),
        ("run@99999999999", NotFoundError, "there is no run"),
        ("run@1_0", NotFoundError, "there is no run"),
        ("run@٣", NotFoundError, "there is no run"),
        ("run~12", NotFoundError, "run@1 is the first; it has no ancestor"),
        ("run~999999999", NotFoundError, "it has no ancestor"),
        ("run~", NotFoundError, "there is no run"),
        ("nobody@1", NotFoundError, "there is no run 'nobody'"),
        ("tag:none", NotFoundError, "there is no tag 'none'"),
        ("tag:", InvalidInputError, "a tag has 1 to 1024 bytes"),
        ("", NotFoundError, "there is no run ''"),
        ("00000000", NotFoundError, "no checkpoint with such an id"),
        ("0" * 64, NotFoundError, "no checkpoint with such an id"),
        ("ABCDEF", NotFoundError, "there is no run"),
        ("abcde", NotFoundError, "there is no run"),
        ("0" * 65, NotFoundError, "there is no run"),
        ("run\0", NotFoundError, "there is no run"),
        ("\ud800", NotFoundError, "there is no run"),
        ("x" * 1_025, NotFoundError, "there is no run"),
        ("run" + "~1" * 1_000, NotFoundError, "it has no ancestor"),
        ("run" + "~1" * 100_000, InvalidInputError, "at most 2048 characters"),
        (Digest(bytes(32)), NotFoundError, "forgotten, or never here"),
        (("nobody", 1), NotFoundError, "there is no run 'nobody'"),
        (("run", 0), NotFoundError, "has no checkpoint 0"),
        (("run", -1), NotFoundError, "has no checkpoint -1"),
        (("run", 1 << 70), NotFoundError, "has no checkpoint"),
        (("run", 1.0), InvalidInputError, "a reference is"),
        (("run", True), InvalidInputError, "a reference is"),
        (("run",), InvalidInputError, "a reference is"),
        (("run", 1, 2), InvalidInputError, "a reference is"),
        ((1, "run"), InvalidInputError, "a reference is"),
        (b"run", InvalidInputError, "a reference is"),
        (bytes(32), InvalidInputError, "a reference is"),
        (None, InvalidInputError, "a reference is"),
        (3, InvalidInputError, "a reference is"),
        (["run"], InvalidInputError, "a reference is"),
    ],
    ids=lambda value: ascii(value)[:30] if not isinstance(value, type) else value.__name__,
)
def test_what_names_nothing_says_so(
    repo: Repository, chain: list[Checkpoint], ref: Any, error: type[HiveError], says: str
) -> None:
    assert chain
    for ask in (repo.resolve, repo.restore, repo.execution):
        with pytest.raises(error) as caught:
            ask(ref)
        assert says in str(caught.value)


@given(
    ref=st.text(max_size=40) | st.from_regex(r"[ab]?(@[0-9]{0,3}|~[0-9]{0,3}|tag:|[0-9a-f]){0,6}")
)
def test_any_text_is_a_reference_or_a_documented_error(any_repo: Repository, ref: str) -> None:
    try:
        found = any_repo.resolve(ref)
    except (NotFoundError, InvalidInputError):
        return
    assert isinstance(found, Checkpoint)


@pytest.fixture(scope="module")
def any_repo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Repository.open(tmp_path_factory.mktemp("refs")) as opened:
        for number in range(10):
            opened.commit("a", number)
            opened.commit("b", number)
            opened.commit("a@3", number)
        opened.tag("a", "a@2")
        yield opened


def test_a_forgotten_checkpoint_and_a_forgotten_ancestor_say_so(
    repo: Repository, chain: list[Checkpoint]
) -> None:
    repo.forget(["run@4"])
    with pytest.raises(NotFoundError, match="checkpoint 4 of run 'run' was forgotten"):
        repo.resolve("run@4")
    with pytest.raises(NotFoundError, match="the ancestor run@4 was forgotten"):
        repo.resolve("run~8")
    with pytest.raises(NotFoundError, match="was forgotten"):
        repo.resolve("run~9")
    with pytest.raises(NotFoundError, match="forgotten, or never here"):
        repo.resolve(chain[3].id)
    with pytest.raises(NotFoundError, match="forgotten, or never here"):
        repo.resolve(chain[3])
    with pytest.raises(NotFoundError):
        repo.resolve(str(chain[3].id)[:12])
    assert repo.resolve("run~7") == chain[4]
    assert repo.resolve("run@3~2") == chain[0]
    assert repo.resolve("run@3") == chain[2]


def test_ancestors_are_found_across_runs_and_forks(repo: Repository) -> None:
    a = [repo.commit("a", number) for number in range(5)]
    repo.fork("a@3", "b")
    b2 = repo.commit("b", "b2")
    repo.fork(b2, "c")
    c2 = repo.commit("c", "c2")
    d1 = repo.commit("d", "d1", parent=c2)
    assert d1.sequence == 1
    assert repo.resolve("d~1") == c2
    assert repo.resolve("d~2").id == b2.id
    assert repo.resolve("d~3").id == a[2].id
    assert repo.resolve("d~4") == a[1]
    assert repo.resolve("d~5") == a[0]
    with pytest.raises(NotFoundError, match="has no ancestor"):
        repo.resolve("d~6")
    repo.forget([a[1]])
    with pytest.raises(NotFoundError, match="the ancestor a@2 was forgotten"):
        repo.resolve("d~4")


def test_a_tag_still_leads_to_what_its_run_forgot(repo: Repository, home: Path) -> None:
    first = repo.commit("r", {"kept": "by the tag"})
    repo.commit("r", 2)
    repo.tag("t", first)
    repo.close()
    # Only a tool that does not know of tags would forget it; the tag keeps it all the same.
    vandal = Vandal(home / "objects")
    vandal.delete("checkpoints", (1).to_bytes(4, "big") + (1).to_bytes(4, "big"))
    with Repository.open(home) as again:
        assert again.restore("tag:t") == {"kept": "by the tag"}
        assert again.resolve("tag:t").id == first.id
        assert again.resolve(first.id).id == first.id
        assert again.tags()["t"].sequence == 1
        with pytest.raises(NotFoundError, match="was forgotten"):
            again.resolve("r@1")


def test_ids_are_found_without_the_index(repo: Repository, chain: list[Checkpoint]) -> None:
    home = repo.home
    repo.close()
    vandal = Vandal(home / "objects")
    for checkpoint in chain[:6]:
        vandal.delete("index", cas.records.index_key(checkpoint.id))
    with Repository.open(home) as again:
        for checkpoint in chain:
            assert again.resolve(checkpoint.id) == checkpoint
            assert again.resolve(str(checkpoint.id)[:10]) == checkpoint
            assert again.restore(("run", checkpoint.sequence)) == checkpoint.sequence
        assert again.resolve("run~8") == chain[3]


def test_names_of_runs_and_tags_are_apart(repo: Repository) -> None:
    assert name_key("x", "tag") == name_key("x", "run name")
    run = repo.commit("x", "a run")
    other = repo.commit("y", "another")
    repo.tag("x", other)
    assert repo.resolve("x") == run
    assert repo.resolve("tag:x") == other
