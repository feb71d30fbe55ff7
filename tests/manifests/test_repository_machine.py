"""Any sequence of operations on a repository, against a model of plain dicts."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cas.digest import Digest
from cas.errors import ConflictError, NotFoundError
from manifests import Checkpoint, PendingWrite, Repository

KEYED = st.sampled_from(["k", "thread@a", "ö" * 300])
"""Runs whose checkpoints have keys."""
KEYS = st.sampled_from(
    ["1f0a0000-0000-6000-8000-000000000000", "1f0b0000-0000-6000-8000-000000000000", "a", "b", "é"]
)
RUNS = st.sampled_from(["a", "b", "c@1", "tag:x", "deadbeef", "ä" * 300])
EFFECTS = st.sampled_from(["paid", "sent", "e" * 500])
TAGS = st.sampled_from(["x", "y", "a"])
INDEX = st.integers(0, 1_000)

LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=90) | st.floats()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text("kl", max_size=3), inner, max_size=5)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)
STATES = st.fixed_dictionaries(
    {"messages": st.lists(VALUES, max_size=50), "n": st.integers()},
    optional={"other": VALUES, "long": st.just("long text " * 2_000)},
)


WRITES = st.lists(
    st.builds(
        PendingWrite,
        task=st.sampled_from(["t", "u", "1f0a0000-0000-6000-8000-00000000000f"]),
        index=st.integers(-2, 2),
        name=st.sampled_from(["messages", "__error__"]),
        value=VALUES | st.just("long text " * 300),
        path=st.sampled_from(["", "p"]),
    ),
    max_size=4,
    unique_by=lambda write: (write.path, write.task, write.index),
)

Place = tuple[str, int]


@dataclass
class Listed:
    """A checkpoint as the model lists it."""

    checkpoint: Checkpoint
    state: Any
    parent: int
    """Sequence of the parent in the same run; 0 if it is elsewhere."""
    pending: dict[tuple[str, str, int], PendingWrite] = field(default_factory=dict)
    is_open: bool = True
    """No checkpoint of the run was built on it."""

    @property
    def anchor(self) -> int | str:
        key = self.checkpoint.key
        return self.checkpoint.sequence if key is None else key


@dataclass
class Run:
    """A run of the model: what it keeps, and the highest sequence it gave out."""

    kept: dict[int, Listed] = field(default_factory=dict)
    last: int = 0
    effects: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """By name: the last sequence when it was recorded, and the value."""

    def newest_first(self) -> list[Listed]:
        return sorted(
            self.kept.values(),
            key=lambda one: (one.checkpoint.key or "", one.checkpoint.sequence),
            reverse=True,
        )


def sorted_items(value: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(value.items(), key=lambda item: item[0])


def exactly(value: Any) -> str:
    return repr(value)


class Histories(RuleBasedStateMachine):
    """Commits, forks, tags and forgets in a repository and in the model."""

    base: Path

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(dir=self.base))
        self.runs: dict[str, Run] = {}
        self.tagged: dict[str, Listed] = {}
        self.live: Any = {"messages": [], "n": 0}

    @initialize()
    def open(self) -> None:
        self.repo = Repository.open(self.home)

    def teardown(self) -> None:
        self.repo.close()
        shutil.rmtree(self.home)

    # What there is to choose from

    def listed(self) -> list[Listed]:
        return [listed for run in self.runs.values() for listed in run.kept.values()]

    def pick(self, index: int) -> Listed:
        everything = self.listed()
        return everything[index % len(everything)]

    def pick_without_key(self, index: int) -> Listed | None:
        found = [one for one in self.listed() if one.checkpoint.key is None]
        return found[index % len(found)] if found else None

    def note(self, checkpoint: Checkpoint, state: Any, parent: int) -> Listed:
        run = self.runs.setdefault(checkpoint.run, Run())
        listed = Listed(checkpoint, copy.deepcopy(state), parent)
        if checkpoint.sequence <= run.last:  # a key that was there already
            old = run.kept[checkpoint.sequence]
            assert old.checkpoint.key == checkpoint.key is not None
            listed.pending, listed.is_open = old.pending, old.is_open
        else:
            run.last += 1
            assert checkpoint.sequence == run.last
            if parent in run.kept:
                run.kept[parent].is_open = False
        run.kept[checkpoint.sequence] = listed
        return listed

    # Writing

    @rule(run=RUNS, state=STATES)
    def commit(self, run: str, state: Any) -> None:
        self._commit(run, state)

    @rule(run=RUNS, more=st.lists(VALUES, max_size=3))
    def commit_the_state_that_grows(self, run: str, more: list[Any]) -> None:
        self.live["messages"].extend(more)
        self.live["n"] += 1
        self._commit(run, self.live)

    @rule(run=RUNS, index=INDEX, value=VALUES)
    def commit_after_a_change_in_place(self, run: str, index: int, value: Any) -> None:
        messages = self.live["messages"]
        if messages:
            target = messages[index % len(messages)]
            if isinstance(target, list):
                target.append(value)
            elif isinstance(target, dict):
                target["k"] = value
            else:
                messages[index % len(messages)] = value
        self._commit(run, self.live)

    def _commit(self, run: str, state: Any) -> None:
        known = self.runs.get(run)
        head = 0 if known is None else known.last
        checkpoint = self.repo.commit(run, state, node="n", labels={"l": run[:5]})
        assert checkpoint.run == run
        expected = None if known is None else known.kept[head].checkpoint.id
        assert checkpoint.parent == expected
        self.note(checkpoint, state, head)

    @rule(run=KEYED, key=KEYS, state=STATES, index=st.none() | INDEX)
    def commit_with_a_key(self, run: str, key: str, state: Any, index: int | None) -> None:
        known = self.runs.get(run, Run())
        parent = None
        if index is not None and known.kept:
            parent = list(known.kept.values())[index % len(known.kept)].checkpoint
        again = [listed for listed in known.kept.values() if listed.checkpoint.key == key]
        if parent is not None and again and parent.sequence >= again[0].checkpoint.sequence:
            with pytest.raises(NotFoundError, match="cannot be its parent"):
                self.repo.commit(run, state, key=key, parent=(run, parent.sequence))
            return
        before = known.kept.get(parent.sequence) if parent is not None else None
        checkpoint = self.repo.commit(
            run,
            state,
            key=key,
            parent=None if parent is None or parent.key is None else (run, parent.key),
        )
        assert checkpoint.key == key
        assert checkpoint.parent == (None if before is None else before.checkpoint.id)
        self.note(checkpoint, state, 0 if parent is None else parent.sequence)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, writes=WRITES, replace=st.booleans())
    def put_pending(self, index: int, writes: list[PendingWrite], replace: bool) -> None:
        target = self.pick(index)
        anchor = target.anchor if index % 2 else target.checkpoint.sequence
        self.repo.put_pending(target.checkpoint.run, anchor, writes, replace=replace)
        for write in copy.deepcopy(writes):
            place = (write.path, write.task, write.index)
            if replace or place not in target.pending:
                target.pending[place] = write

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, name=EFFECTS, value=VALUES)
    def record_an_effect(self, index: int, name: str, value: Any) -> None:
        run = self.pick(index).checkpoint.run
        effects = self.runs[run].effects
        effects.setdefault(name, (self.runs[run].last, copy.deepcopy(value)))
        assert exactly(self.repo.record_effect(run, name, value)) == exactly(effects[name][1])

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, state=STATES)
    def commit_behind_an_older_one(self, index: int, state: Any) -> None:
        found = self.pick_without_key(index)
        if found is None:
            return
        parent = found.checkpoint
        checkpoint = self.repo.commit(parent.run, state, parent=(parent.run, parent.sequence))
        assert checkpoint.parent == parent.id
        self.note(checkpoint, state, parent.sequence)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, state=STATES)
    def another_handle_commits_first(self, index: int, state: Any) -> None:
        found = self.pick_without_key(index)
        if found is None:
            return
        run = found.checkpoint.run
        self.repo.resolve((run, self.runs[run].last))
        with Repository.open(self.home) as other:
            checkpoint = other.commit(run, state)
        self.note(checkpoint, state, checkpoint.sequence - 1)
        with pytest.raises(ConflictError):
            self.repo.commit(run, "never")
        self.repo.restore((run, checkpoint.sequence))

    @rule(run=RUNS, states=st.lists(STATES, min_size=2, max_size=4), fail=st.booleans())
    def prepare_several(self, run: str, states: list[Any], fail: bool) -> None:
        prepared = [self.repo.prepare(run, state) for state in states]
        if fail:
            with pytest.raises(ConflictError):
                self.repo.write(prepared[1])
        for item, state in zip(prepared, states, strict=True):
            checkpoint = self.repo.write(item)
            self.note(checkpoint, state, checkpoint.sequence - 1)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, run=RUNS, keyed=KEYED)
    def fork(self, index: int, run: str, keyed: str) -> None:
        origin = self.pick(index)
        run = run if origin.checkpoint.key is None else keyed
        place = (origin.checkpoint.run, origin.checkpoint.sequence)
        if run in self.runs:
            with pytest.raises(ConflictError):
                self.repo.fork(place, run)
            return
        checkpoint = self.repo.fork(place, run)
        assert checkpoint.id == origin.checkpoint.id
        listed = self.note(checkpoint, origin.state, 0)
        if origin.is_open:
            listed.pending = dict(origin.pending)
        at = origin.checkpoint.sequence
        for name, (recorded, value) in self.runs[place[0]].effects.items():
            if recorded < at or (recorded == at and origin.is_open):
                now = 1 if recorded == at else 0
                self.runs[run].effects[name] = (now, value)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, tag=TAGS, force=st.booleans())
    def tag(self, index: int, tag: str, force: bool) -> None:
        target = self.pick(index)
        place = (target.checkpoint.run, target.checkpoint.sequence)
        known = self.tagged.get(tag)
        if known is not None and known.checkpoint.id != target.checkpoint.id and not force:
            with pytest.raises(ConflictError):
                self.repo.tag(tag, place)
            return
        assert self.repo.tag(tag, place, force=force) == target.checkpoint
        self.tagged[tag] = target

    @rule(tag=TAGS)
    def untag(self, tag: str) -> None:
        if tag in self.tagged:
            self.repo.untag(tag)
            del self.tagged[tag]
        else:
            with pytest.raises(NotFoundError):
                self.repo.untag(tag)

    @precondition(lambda self: self.runs)
    @rule(indexes=st.lists(INDEX, min_size=1, max_size=4))
    def forget(self, indexes: list[int]) -> None:
        targets = [self.pick(index).checkpoint for index in indexes]
        if any(self._must_stay(target) for target in targets):
            with pytest.raises(ConflictError):
                self.repo.forget(targets)
            return
        self.repo.forget(targets)
        for target in targets:
            self.runs[target.run].kept.pop(target.sequence, None)

    def _must_stay(self, target: Checkpoint) -> bool:
        run = self.runs[target.run]
        listed = run.kept[target.sequence]
        if listed is run.newest_first()[0] or (listed.pending and listed.is_open):
            return True
        return target.id in [tag.checkpoint.id for tag in self.tagged.values()]

    @rule(whole=st.booleans(), dense=st.booleans())
    def free_space(self, whole: bool, dense: bool) -> None:
        self.repo.gc(whole=whole)
        if dense:
            self.repo.compact()
        assert self.repo.check().ok

    @rule()
    def reopen(self) -> None:
        self.repo.close()
        self.repo = Repository.open(self.home)

    # Reading

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def restore(self, index: int) -> None:
        target = self.pick(index)
        checkpoint = target.checkpoint
        refs: list[Any] = [
            checkpoint,
            (checkpoint.run, checkpoint.sequence),
            checkpoint.id,
            str(checkpoint.id),
        ]
        if not checkpoint.run.startswith("tag:"):
            refs.append(f"{checkpoint.run}@{checkpoint.sequence}")
        for ref in refs:
            assert exactly(self.repo.restore(ref)) == exactly(target.state)
        keys = list(target.state)[:1]
        part = self.repo.restore(checkpoint, keys=keys)
        assert exactly(part) == exactly({key: target.state[key] for key in keys})

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, steps=st.integers(0, 6))
    def resolve_an_ancestor(self, index: int, steps: int) -> None:
        start = self.pick(index)
        expected = self._ancestor(start, steps)
        if start.checkpoint.run.startswith("tag:"):
            return
        ref = f"{start.checkpoint.run}@{start.checkpoint.sequence}~{steps}"
        if expected is None:
            with pytest.raises(NotFoundError):
                self.repo.resolve(ref)
        else:
            assert self.repo.resolve(ref).id == expected

    def _ancestor(self, listed: Listed, steps: int) -> Digest | None:
        for _ in range(steps):
            if listed.parent:
                found = self.runs[listed.checkpoint.run].kept.get(listed.parent)
            else:
                found = self._by_id(listed.checkpoint.parent)
            if found is None:
                return None
            listed = found
        return listed.checkpoint.id

    def _by_id(self, wanted: Digest | None) -> Listed | None:
        """A listing of a checkpoint: where it was first saved, else by name of run."""
        found = [listed for listed in self.listed() if listed.checkpoint.id == wanted]
        for listed in found:
            checkpoint = listed.checkpoint
            if (checkpoint.run, checkpoint.sequence) == (
                checkpoint.origin_run,
                checkpoint.origin_sequence,
            ):
                return listed
        return min(found, key=lambda listed: listed.checkpoint.run.encode(), default=None)

    @precondition(lambda self: self.runs)
    @rule(one=INDEX, other=INDEX)
    def diff(self, one: int, other: int) -> None:
        before, after = self.pick(one), self.pick(other)
        changes = self.repo.diff(before.checkpoint, after.checkpoint)
        assert (changes == []) == (exactly(_sorted(before.state)) == exactly(_sorted(after.state)))
        for change in changes:
            if change.kind != "removed":
                assert exactly(_at(after.state, change.path)) == exactly(change.after)
            elif change.path.count("[") == 1:
                assert exactly(_at(before.state, change.path)) == exactly(change.before)

    @invariant()
    def everything_is_listed(self) -> None:
        infos = {info.name: info for info in self.repo.runs()}
        assert set(infos) == set(self.runs)
        for name, run in self.runs.items():
            kept = [listed.checkpoint for listed in run.newest_first()]
            assert self.repo.log(name) == kept
            assert infos[name].head == kept[0]
            assert infos[name].checkpoints == len(kept)
            for listed in run.kept.values():
                expected = [listed.pending[place] for place in sorted(listed.pending)]
                assert exactly(self.repo.pending(name, listed.anchor)) == exactly(expected)
            effects = {name: value for name, (_at, value) in run.effects.items()}
            assert exactly(sorted_items(self.repo.effects(name))) == exactly(sorted_items(effects))
        tags = {name: listed.checkpoint.id for name, listed in self.tagged.items()}
        assert {name: found.id for name, found in self.repo.tags().items()} == tags
        stats = self.repo.stats()
        assert stats.checkpoints == sum(len(run.kept) for run in self.runs.values())


def _at(state: Any, path: str) -> Any:
    """The value at a path such as `['messages'][3]`."""
    return eval(f"state{path}", {"state": state})


def _sorted(value: Any) -> Any:
    """The value with its dicts in the order of their keys, which a diff does not look at."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return type(value)(map(_sorted, value))
    return value


@pytest.mark.torture
def test_any_sequence_of_operations_agrees_with_a_model(
    tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    class Here(Histories):
        base = tmp_path

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=rounds(50, 2_000), stateful_step_count=rounds(30, 60), deadline=None
        ),
    )
