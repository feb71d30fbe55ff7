"""Runs of which some keys are stored whole only now and then: cut, and rebuilt as before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import ForgetPlan, PendingWrite, Repository, RetentionPolicy, hiding
from manifests.needs import Needs, read_needs

KEY = "{:03}".format
RUN = "run"
NAMES = ("one", "two", "three")
LATEST = RetentionPolicy(mode="latest_only", keep_tips=False)
POLICIES = (LATEST, RetentionPolicy(mode="latest_only"), RetentionPolicy(keep_last=2))


@dataclass(frozen=True)
class Step:
    """A checkpoint: which keys it stores whole, counts as rebuilt, and has writes for."""

    parent: int
    needs_parent: bool
    stored: frozenset[str]
    counted: frozenset[str]
    written: frozenset[str]


def rebuilt(execution: Mapping[str, Any]) -> list[str]:
    """Tell what a record says, as a framework would."""
    return execution["counted"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module", autouse=True)
def _small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("manifests.needs._MOST_AT_ONCE", 3)
        patch.setattr("manifests.hiding._BATCH", 2)
        yield


class History:
    """A run, and what is true of it."""

    def __init__(self, repo: Repository) -> None:
        self.repo = repo
        self.steps: dict[int, Step] = {}
        self.behind: dict[int, Any] = {}

    def add(self, step: Step) -> int:
        """Commit a checkpoint; returns its sequence."""
        at = len(self.steps) + 1
        self.repo.commit(
            RUN,
            {"at": at, **{name: [name, at] for name in step.stored}},
            key=KEY(at),
            parent=(RUN, KEY(step.parent)) if step.parent else None,
            needs_parent=step.needs_parent,
            execution={"at": at, "counted": sorted(step.counted)},
        )
        self.steps[at] = step
        writes = [
            PendingWrite("task", index, name, f"{name} {at}")
            for index, name in enumerate(sorted(step.written))
        ]
        if writes:
            self.repo.put_pending(RUN, KEY(at), writes)
        self.behind[at] = self.found(at)
        return at

    def found(self, at: int) -> Any:
        """Return what a checkpoint's keys are rebuilt from."""
        return self.repo.behind((RUN, KEY(at)), self.names_of(at))

    def chain(self, at: int) -> list[int]:
        """Return what a checkpoint leads to, if nothing was ever cut."""
        found = []
        while self.steps[at].needs_parent:
            at = self.steps[at].parent
            found.append(at)
        return found

    def needed(self, at: int) -> set[int]:
        """Return what a checkpoint is rebuilt from."""
        chain = self.chain(at)
        found = set()
        for name in self.names_of(at):
            for above in chain:
                if name in self.steps[above].stored | self.steps[above].written:
                    found.add(above)
                if name in self.steps[above].stored:
                    break
            if name not in self.steps[at].counted:
                # The nearest that counts it stays as well, to tell of it the next time.
                found.add(next(above for above in chain if name in self.steps[above].counted))
        return found

    def names_of(self, at: int) -> list[str]:
        """Return the keys that a checkpoint has behind it and not in its state."""
        chain = self.chain(at)
        return [
            name
            for name in NAMES
            if name not in self.steps[at].stored
            and any(name in self.steps[each].counted for each in (at, *chain))
            and any(name in self.steps[each].stored | self.steps[each].written for each in chain)
        ]

    def between(self, listed: list[int]) -> set[int]:
        """Return the true parents that have to stand between two checkpoints that are listed."""
        found = set()
        needed = {at: self.needed(at) for at in listed}
        staying = {*listed, *(above for each in needed.values() for above in each)}
        for at in listed:
            leads_on = any(
                at in (other, *self.chain(other)) and any(above < at for above in needed[other])
                for other in listed
            )
            if leads_on:
                nearest = next(above for above in self.chain(at) if above in staying)
                if nearest in listed and nearest != self.steps[at].parent:
                    found.add(self.steps[at].parent)
        return found

    def listed(self) -> list[int]:
        return [found.sequence for found in self.repo.log(RUN)]

    def kept(self) -> dict[int, bool]:
        """Return all that is left, and of each whether it is out of sight."""
        plan = self.repo.forget(RetentionPolicy(), run=RUN, dry_run=True)
        return {each.checkpoint.sequence: each.hidden for each in plan.verdicts}


def step(parent: int, stored: str = "", counted: str = "", written: str = "") -> Step:
    """Return a step that needs its parent, if it has one."""
    parts = (frozenset(names.split()) for names in (stored, counted, written))
    return Step(parent, bool(parent), *parts)


def steps(at: int) -> st.SearchStrategy[Step]:
    """Return what the checkpoint with a sequence may be; its parent is counted back from it."""
    names = st.frozensets(st.sampled_from(NAMES))
    return st.builds(
        Step,
        parent=st.sampled_from([at - 1] * 3 + [max(at - 2, 0), max(at - 4, 0)]),
        needs_parent=st.sampled_from([True] * 5 + [False]),
        stored=st.sampled_from([frozenset[str]()] * 3 + [frozenset((name,)) for name in NAMES]),
        counted=names,
        written=names,
    )


@given(data=st.data())
@settings(max_examples=30)
def test_what_is_listed_is_rebuilt_as_if_nothing_had_gone(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    with Repository.open(tmp_path_factory.mktemp("home")) as repo:
        history = History(repo)
        for round_ in range(data.draw(st.integers(1, 3))):
            for _ in range(data.draw(st.integers(1, 10))):
                at = len(history.steps) + 1
                step = data.draw(steps(at))
                parent = step.parent
                listed = history.listed() if history.steps else []
                if parent not in listed:
                    parent = listed[0] if listed else 0
                needs_parent = bool(parent) and step.needs_parent
                # What can be used without its parent has everything; what is new is counted.
                stored = step.stored if needs_parent or not parent else frozenset(NAMES)
                new = history.steps[parent].stored - stored if needs_parent else frozenset()
                counted = step.counted | step.written | new
                history.add(Step(parent, needs_parent, stored, counted, step.written))
            if data.draw(st.booleans()):
                tagged = data.draw(st.sampled_from(history.listed()))
                repo.tag(f"tag {len(history.steps)}", (RUN, KEY(tagged)))
            policy = data.draw(st.sampled_from(POLICIES))
            told = repo.forget(policy, run=RUN, rebuilt=rebuilt, dry_run=True)
            done = repo.forget(policy, run=RUN, rebuilt=rebuilt)
            assert done.verdicts == told.verdicts
            repo.gc(whole=True)
            listed = history.listed()
            assert {at: history.found(at) for at in listed} == {
                at: history.behind[at] for at in listed
            }
            needed = set[int]().union(*map(history.needed, listed))
            kept = history.kept()
            assert [at for at, hidden in kept.items() if not hidden] == listed
            assert repo.runs()[0].checkpoints == len(listed)
            if round_ == 0:
                assert kept.keys() == {*listed, *needed, *history.between(listed)}
            assert kept.keys() >= needed
            assert repo.forget(policy, run=RUN, rebuilt=rebuilt).dropped == []


def test_a_key_that_only_ancestors_count_stays_however_often_it_is_forgotten(
    repo: Repository,
) -> None:
    """A graph that has the key again goes on with what it had."""
    history = History(repo)
    history.add(step(0, stored="one"))
    history.add(step(1, counted="two", written="one two"))
    history.add(step(2, counted="one two"))
    history.add(step(3, counted="two"))
    head = history.add(step(4, counted="two"))
    for _ in range(3):
        repo.forget(LATEST, run=RUN, rebuilt=rebuilt)
        assert history.found(head) == history.behind[head]
        assert history.kept() == {5: False, 3: True, 2: True, 1: True}
        assert repo.check().ok


def test_nothing_goes_whose_need_cannot_be_told(repo: Repository) -> None:
    """A single record that says nothing is enough."""
    history = History(repo)
    history.add(step(0, stored="one"))
    for at in range(1, 6):
        history.add(step(at, counted="one"))
    for unknown in range(1, 7):

        def told(execution: Mapping[str, Any], unknown: int = unknown) -> list[str] | None:
            return None if execution["at"] == unknown else rebuilt(execution)

        assert repo.forget(LATEST, run=RUN, rebuilt=told).dropped == []
    assert history.kept() == dict.fromkeys(range(1, 7), False)


def planned(repo: Repository) -> tuple[History, ForgetPlan]:
    """Return a run of six, and a plan that drops two of them and hides three."""
    history = History(repo)
    for at in range(6):
        history.add(step(at, stored="one" if at == 2 else "", counted="one", written="one"))
    told = repo.forget(LATEST, run=RUN, rebuilt=rebuilt, dry_run=True)
    assert [each.sequence for each in told.dropped] == [2, 1]
    assert [each.checkpoint.sequence for each in told.verdicts if each.hidden] == [5, 4, 3]
    return history, told


def test_a_plan_that_somebody_else_carried_out_changes_nothing(repo: Repository) -> None:
    history, told = planned(repo)
    with Repository.open(repo.home) as other:
        other.forget(LATEST, run=RUN, rebuilt=rebuilt)
    assert repo.forget(told).verdicts == told.verdicts
    assert history.kept() == {6: False, 5: True, 4: True, 3: True}
    assert repo.runs()[0].checkpoints == 1
    assert history.found(6) == history.behind[6]
    assert repo.check().ok


def test_what_is_tagged_since_the_plan_stays_listed_with_what_it_needs(repo: Repository) -> None:
    """Also if it was to go; what it is not rebuilt from goes all the same."""
    history, told = planned(repo)
    with Repository.open(repo.home) as other:
        other.tag("late", (RUN, KEY(4)))
    done = repo.forget(told)
    kept = {each.checkpoint.sequence: each.reasons[0].rule for each in done.verdicts if each.keep}
    assert kept == {6: "head", 5: "needed", 4: "tag", 3: "needed"}
    assert history.kept() == {6: False, 5: True, 4: False, 3: True}
    assert repo.runs()[0].checkpoints == 2
    assert {at: history.found(at) for at in (4, 6)} == {at: history.behind[at] for at in (4, 6)}
    assert repo.check().ok


def test_a_run_deleted_since_the_plan_is_no_error(repo: Repository) -> None:
    _history, told = planned(repo)
    with Repository.open(repo.home) as other:
        other.delete_run(RUN)
        repo.forget(told)
        other.commit(RUN, {"another": 1}, key=KEY(4), parent=None)
        repo.forget(told)
        assert other.restore(RUN) == {"another": 1}
    assert repo.check().ok


@pytest.mark.parametrize(("times", "kept"), [(1, [3, 4, 5, 6, 7]), (9, [1, 2, 3, 4, 5, 6])])
def test_what_is_saved_between_the_last_look_and_the_cut_stays_whole(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, times: int, kept: list[int]
) -> None:
    """The look is taken again; a run that never rests is not cut."""
    history, told = planned(repo)
    looks: list[int] = []

    def looking(*given: Any, **more: Any) -> Needs | None:
        found = read_needs(*given, **more)
        if len(looks) < times:
            at = len(history.steps)
            looks.append(history.add(step(at, counted="one", written="one")))
        return found

    monkeypatch.setattr(hiding, "read_needs", looking)
    repo.forget(told)
    assert history.kept().keys() == {*kept, *looks}
    assert history.listed() == sorted([6, *looks], reverse=True)
    for at in history.listed():
        assert history.found(at) == history.behind[at]
    assert repo.check().ok
