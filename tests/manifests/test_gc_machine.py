"""Forgetting, collecting, compacting and dying in any order, against a model of plain dicts."""

from __future__ import annotations

import copy
import datetime as dt
import os
import signal
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
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import manifests.forgetting
from cas.digest import Digest
from cas.errors import ConflictError
from cas.packs import Pack
from cas.packwalk import packs_up
from cas.records import RecordReader
from cas.upkeep import Progress
from manifests import Checkpoint, ForgetPlan, PendingWrite, Repository, RetentionPolicy
from manifests.bodies import records_of
from manifests.effects import EFFECTS, effect_row
from manifests.pending_rows import PENDING, pending_row
from tests.manifests.policies import policies

NOON = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)
INDEX = st.integers(0, 999)
KEYS = [f"key {number}" for number in range(8)]
VALUES = st.sampled_from(
    [1, "short", "a value of a task " * 40, {"n": ["as one of a state " * 30]}]
)
Place = tuple[str, int]


@dataclass
class Listed:
    """A checkpoint as the model lists it."""

    checkpoint: Checkpoint
    state: Any
    is_tip: bool = False
    needs: int = 0
    pending: dict[tuple[str, int], Any] = field(default_factory=dict)
    """By task and index."""


@dataclass
class Run:
    """A run of the model. Its head is the greatest key, else the highest sequence."""

    kept: dict[int, Listed] = field(default_factory=dict)
    last: int = 0
    effects: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """By name: the run's last sequence when it was recorded, and the value."""

    @property
    def head(self) -> int:
        return max(self.kept, key=lambda n: (self.kept[n].checkpoint.key or "", n), default=0)

    def is_open(self, sequence: int) -> bool:
        """No checkpoint was built on it, so its step may be under way."""
        return sequence == self.head or self.kept[sequence].is_tip

    def note(self, checkpoint: Checkpoint, state: Any, parent: int, *, needs: bool) -> None:
        """Note a commit."""
        listed = Listed(checkpoint, copy.deepcopy(state), needs=parent if needs else 0)
        self.last = max(self.last, checkpoint.sequence)
        head, before = self.head, self.kept.get(checkpoint.sequence)
        self.kept[checkpoint.sequence] = listed
        if before is not None:  # its key was there
            listed.is_tip, listed.pending = before.is_tip, before.pending
            return
        is_newest = self.head == checkpoint.sequence
        leaves_head = head not in (0, parent)
        listed.is_tip = not is_newest
        if leaves_head and is_newest:
            self.kept[head].is_tip = True
        if (leaves_head or not is_newest) and parent in self.kept:
            self.kept[parent].is_tip = False


class Machine(RuleBasedStateMachine):
    """Random work on a repository, and a model of what it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name) / "home"
        self.now = NOON
        self.repo = self.open()
        self.runs: dict[str, Run] = {}
        self.tags: dict[str, Listed] = {}
        self.pins: dict[Digest, Listed] = {}
        self.live: dict[str, Any] = {}
        self.bundled: dict[str, Run] = {}

    def open(self) -> Repository:
        return Repository.open(self.home, clock=lambda: self.now)

    def teardown(self) -> None:
        self.repo.close()
        self.folder.cleanup()

    # What there is to choose from

    def everything(self) -> list[Listed]:
        return [listed for run in self.runs.values() for listed in run.kept.values()]

    def pick(self, index: int) -> Listed:
        everything = self.everything()
        return everything[index % len(everything)]

    def grown(self, run: str, size: int, word: str) -> Any:
        state = self.live.setdefault(run, {"items": [], "word": ""})
        state["items"].extend([f"{word} {len(state['items'])} " * 20 for _ in range(size)])
        state["word"] = word * 100
        return state

    def note(
        self, checkpoint: Checkpoint, state: Any, parent: int = 0, *, needs: bool = False
    ) -> None:
        run = self.runs.setdefault(checkpoint.run, Run())
        run.note(checkpoint, state, parent or run.head, needs=needs)

    # Saving and naming

    @rule(
        run=st.sampled_from("abc"),
        size=st.integers(1, 4),
        word=st.sampled_from("xy"),
        kind=st.sampled_from(["node_complete", "paused", "final"]),
        graph=st.sampled_from([None, "g"]),
    )
    def commit(self, run: str, size: int, word: str, kind: str, graph: str | None) -> None:
        state = self.grown(run, size, word)
        self.note(self.repo.commit(run, state, kind=kind, graph=graph), state)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, word=st.sampled_from("xyz"))
    def commit_behind_an_older_one(self, index: int, word: str) -> None:
        parent = self.pick(index).checkpoint
        if parent.key is not None:
            return
        state = self.grown(parent.run, 1, word)
        found = self.repo.commit(parent.run, state, parent=(parent.run, parent.sequence))
        self.note(found, state, parent.sequence)

    @rule(key=st.sampled_from(KEYS), index=INDEX, needs=st.booleans(), word=st.sampled_from("xy"))
    def commit_with_a_key(self, key: str, index: int, needs: bool, word: str) -> None:
        """As a framework does, perhaps once more under the same key."""
        run = self.runs.get("keyed", Run())
        older = [n for n, item in run.kept.items() if (item.checkpoint.key or "") < key]
        known = [n for n, item in run.kept.items() if item.checkpoint.key == key]
        older = [n for n in older if n < (known or [10_000])[0]]
        parent = older[index % len(older)] if older else 0
        state = self.grown("keyed", 1, word)
        found = self.repo.commit(
            "keyed",
            state,
            key=key,
            parent=("keyed", parent) if parent else None,
            needs_parent=needs and parent > 0,
        )
        before = run.kept.get(found.sequence)
        self.runs.setdefault("keyed", run).note(found, state, parent, needs=needs)
        pinned = None if before is None else self.pins.get(before.checkpoint.id)
        if pinned is not None and _place(pinned.checkpoint) == _place(found):
            del self.pins[pinned.checkpoint.id]  # it goes over to what replaced its checkpoint
            self.pins[found.id] = run.kept[found.sequence]

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, task=st.sampled_from("pq"), value=VALUES, replace=st.booleans())
    def put_pending(self, index: int, task: str, value: Any, replace: bool) -> None:
        listed = self.pick(index)
        found = listed.checkpoint
        writes = [PendingWrite(task, number, "channel", value) for number in (0, index % 3)]
        self.repo.put_pending(
            found.run, found.key or found.sequence, writes[: 1 + index % 3], replace=replace
        )
        for write in writes[: 1 + index % 3]:
            if replace or (task, write.index) not in listed.pending:
                listed.pending[task, write.index] = value

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, name=st.sampled_from(["sent", "paid"]), value=VALUES)
    def record_an_effect(self, index: int, name: str, value: Any) -> None:
        run = self.pick(index).checkpoint.run
        _at, first = self.runs[run].effects.setdefault(name, (self.runs[run].last, value))
        assert self.repo.record_effect(run, name, value) == first

    @precondition(lambda self: self.live)
    @rule(index=INDEX)
    def mutate(self, index: int) -> None:
        items = sorted(self.live.items())[index % len(self.live)][1]["items"]
        items[index % len(items)] = "changed " * 20

    @rule(hours=st.sampled_from([1, 30, 200, -50]))
    def pass_time(self, hours: int) -> None:
        self.now += dt.timedelta(hours=hours)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, name=st.sampled_from("fg"))
    def fork(self, index: int, name: str) -> None:
        origin = self.pick(index)
        place = (origin.checkpoint.run, origin.checkpoint.sequence)
        if name in self.runs:
            with pytest.raises(ConflictError):
                self.repo.fork(place, name)
            return
        before = self.runs[origin.checkpoint.run]
        found = self.repo.fork(place, name)
        chain = [origin]
        while chain[-1].needs:
            chain.append(before.kept[chain[-1].needs])
        run = self.runs[name] = Run()
        is_open = before.is_open(place[1])
        for item in reversed(chain):
            at = run.last + 1
            run.kept[at] = listed = Listed(self.repo.resolve((name, at)), item.state)
            listed.needs = run.last if item.needs else 0
            listed.pending = dict(item.pending) if item is not origin or is_open else {}
            run.last = at
        assert found == run.kept[run.last].checkpoint
        for effect, (at, value) in before.effects.items():
            if at < place[1] or (at == place[1] and is_open):
                run.effects[effect] = (0 if at < place[1] else run.last, value)
        self.live[name] = copy.deepcopy(origin.state)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def delete_run(self, index: int) -> None:
        name = self.pick(index).checkpoint.run
        self.repo.delete_run(name, force=True)
        del self.runs[name]
        self.live.pop(name, None)
        self.tags = {tag: one for tag, one in self.tags.items() if one.checkpoint.run != name}
        self.pins = {pin: one for pin, one in self.pins.items() if one.checkpoint.run != name}

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, tag=st.sampled_from("tu"))
    def tag(self, index: int, tag: str) -> None:
        listed = self.pick(index)
        self.repo.tag(tag, (listed.checkpoint.run, listed.checkpoint.sequence), force=True)
        self.tags[tag] = listed

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def pin(self, index: int) -> None:
        listed = self.pick(index)
        self.repo.pin((listed.checkpoint.run, listed.checkpoint.sequence))
        self.pins[listed.checkpoint.id] = listed

    @precondition(lambda self: self.tags or self.pins)
    @rule(index=INDEX)
    def unname(self, index: int) -> None:
        names: list[str | Digest] = [*self.tags, *self.pins]
        name = names[index % len(names)]
        if isinstance(name, Digest):
            self.repo.unpin(name)
            del self.pins[name]
        else:
            self.repo.untag(name)
            del self.tags[name]

    # Forgetting

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def forget(self, index: int) -> None:
        found = self.pick(index).checkpoint
        needed = [item.needs for item in self.runs[found.run].kept.values()]
        if self._is_protected(found) or self._is_last_resumable(found) or found.sequence in needed:
            with pytest.raises(ConflictError):
                self.repo.forget([(found.run, found.sequence)])
        else:
            self.repo.forget([(found.run, found.sequence)])
            del self.runs[found.run].kept[found.sequence]

    @rule(policy=policies(30_000), one_run=st.booleans(), index=INDEX)
    def forget_by_policy(self, policy: RetentionPolicy, one_run: bool, index: int) -> None:
        run = self.pick(index).checkpoint.run if one_run and self.runs else None
        plan = self.repo.forget(policy, run=run, dry_run=True)
        self._check_plan(plan, policy, run)
        assert self.repo.forget(policy, run=run).verdicts == plan.verdicts
        for gone in plan.dropped:
            del self.runs[gone.run].kept[gone.sequence]

    def _check_plan(self, plan: ForgetPlan, policy: RetentionPolicy, run: str | None) -> None:
        listed = [c.checkpoint for c in self.everything() if run in (None, c.checkpoint.run)]
        judged = [verdict.checkpoint for verdict in plan.verdicts]
        assert sorted(map(_place, judged)) == sorted(map(_place, listed))
        assert all(verdict.reasons for verdict in plan.verdicts)
        for gone in plan.dropped:
            assert not self._is_protected(gone)
            assert not self._is_last_resumable(gone)
            assert not (self.runs[gone.run].kept[gone.sequence].is_tip and policy.keep_tips)
        for kept in plan.kept:
            needs = self.runs[kept.run].kept[kept.sequence].needs
            assert (kept.run, needs) not in map(_place, plan.dropped)

    def _is_protected(self, found: Checkpoint) -> bool:
        is_tagged = any(listed.checkpoint.id == found.id for listed in self.tags.values())
        run = self.runs[found.run]
        is_waiting = run.kept[found.sequence].pending and run.is_open(found.sequence)
        is_head = found.sequence == run.head
        return bool(is_head or is_tagged or is_waiting or found.id in self.pins)

    def _is_last_resumable(self, found: Checkpoint) -> bool:
        kept = self.runs[found.run].kept
        resumable = [sequence for sequence, item in kept.items() if item.checkpoint.graph]
        # The framework that gives keys has no graphs of this project.
        return bool(resumable) and found.sequence == max(resumable)

    # Freeing space

    @rule(budget=st.sampled_from([None, 0.0, 0.002]), whole=st.booleans())
    def gc(self, budget: float | None, whole: bool) -> None:
        done = self.repo.gc(time_budget=budget, whole=whole)
        assert done.complete or budget is not None
        if done.complete:
            self._nothing_is_unreachable()

    @rule(policy=policies(30_000))
    def gc_after_a_policy_as_a_dry_run_says(self, policy: RetentionPolicy) -> None:
        plan = self.repo.forget(policy, dry_run=True)
        told = self.repo.gc(dry_run=True, after=plan)
        self.repo.forget(plan)
        for gone in plan.dropped:
            del self.runs[gone.run].kept[gone.sequence]
        done = self.repo.gc()
        for figure in ("objects_removed", "payload_bytes_removed", "objects_kept", "roots"):
            assert getattr(done, figure) == getattr(told, figure)
        self._nothing_is_unreachable()

    @rule()
    def compact(self) -> None:
        self.repo.compact()
        self._nothing_is_unreachable()

    def _nothing_is_unreachable(self) -> None:
        """Walk from what the model names, and compare with all that is stored."""
        names = {listed.checkpoint.id for listed in self.everything()}
        names |= {listed.checkpoint.id for listed in self.tags.values()}
        names |= self.pins.keys()

        def work(reader: RecordReader) -> None:
            numbers: list[int | None] = [reader.find(name) for name in names]
            rows = [pending_row(row) for _key, row in reader.transaction.items(PENDING)]
            effects = [effect_row(row) for _key, row in reader.transaction.items(EFFECTS)]
            assert sum(len(row.writes) for row in rows) == sum(
                len(item.pending) for item in self.everything()
            )
            assert len(effects) == sum(len(run.effects) for run in self.runs.values())
            numbers += records_of(body for row in rows for body in row.bodies)
            numbers += records_of(effect.body for effect in effects)
            reached: set[bytes] = set()
            stack = [number for number in numbers if number is not None]
            assert len(stack) == len(numbers)
            while stack:
                record = reader.read(stack.pop())
                if record.digest not in reached:
                    reached.add(record.digest)
                    stack.extend(record.links)
            stored = [
                digest
                for base, data in packs_up(reader.transaction, 0, 1 << 47)
                for pack in [Pack(base, data)]
                for digest in map(pack.digest, range(len(pack.numbers)))
            ]
            assert sorted(stored) == sorted(reached)

        self.repo._store.read(work)

    # Copies

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def export(self, index: int) -> None:
        name = self.pick(index).checkpoint.run
        if name != "keyed":
            self.repo.export([name], self.home / "bundle", history=True)
            self.bundled = {name: copy.deepcopy(self.runs[name])}

    @precondition(lambda self: self.bundled)
    @rule()
    def import_again(self) -> None:
        """What was forgotten, and perhaps swept, comes back."""
        try:
            report = self.repo.import_bundle(self.home / "bundle")
        except ConflictError:
            return  # the run was deleted, and another one has its name
        ((name, bundled),) = self.bundled.items()
        run = self.runs.setdefault(name, Run())
        for _name, sequence in report.checkpoints:
            listed = copy.deepcopy(bundled.kept[sequence])
            found = self.repo.resolve((name, sequence))
            assert found.id == listed.checkpoint.id
            run.kept[sequence] = Listed(found, listed.state, listed.is_tip, listed.needs)
            run.last = max(run.last, sequence)
            self.live.setdefault(name, copy.deepcopy(listed.state))
        for sequence, listed in bundled.kept.items():
            if (name, sequence) in report.checkpoints or run.is_open(sequence):
                run.kept[sequence].pending = {**listed.pending, **run.kept[sequence].pending}
        for effect, recorded in bundled.effects.items():
            run.effects.setdefault(effect, recorded)

    # Ends

    @rule()
    def reopen(self) -> None:
        self.repo.close()
        self.repo = self.open()

    @rule(
        work=st.sampled_from(["gc", "whole gc", "compact", "forget", "commit"]),
        at=st.integers(0, 6),
        policy=policies(30_000),
    )
    def another_process_is_killed(self, work: str, at: int, policy: RetentionPolicy) -> None:
        """It dies after so many steps, or when it is done."""
        plan = self.repo.forget(policy, dry_run=True)
        state = self.grown("a", 1, "w")
        works: dict[str, Callable[[Repository, Callable[[Progress], None]], object]] = {
            "gc": lambda repo, told: repo.gc(progress=told),
            "whole gc": lambda repo, told: repo.gc(whole=True, progress=told),
            "compact": lambda repo, told: repo.compact(progress=told),
            "forget": lambda repo, told: repo.forget(plan, progress=told),
            "commit": lambda repo, _told: repo.commit("a", state),
        }
        _killed(lambda told: works[work](self.open(), told), at)
        if work == "commit":
            self.note(self.repo.resolve("a"), state)
        elif work == "forget":
            # It forgets in batches of which each is whole.
            listed = {
                _place(found) for info in self.repo.runs() for found in self.repo.log(info.name)
            }
            for gone in plan.dropped:
                if _place(gone) not in listed:
                    del self.runs[gone.run].kept[gone.sequence]

    @rule()
    def check(self) -> None:
        report = self.repo.check()
        assert report.ok, report.damage

    @invariant()
    def every_survivor_restores(self) -> None:
        listed = {
            info.name: {found.sequence for found in self.repo.log(info.name)}
            for info in self.repo.runs()
        }
        assert listed == {name: set(run.kept) for name, run in self.runs.items()}
        for name, run in self.runs.items():
            assert self.repo.effects(name) == {
                effect: value for effect, (_at, value) in run.effects.items()
            }
            for item in run.kept.values():
                found = self.repo.pending(name, item.checkpoint.key or item.checkpoint.sequence)
                assert {(one.task, one.index): one.value for one in found} == item.pending
        for item in self.everything():
            assert self.repo.restore(_place(item.checkpoint)) == item.state
        for name, item in self.tags.items():
            assert self.repo.restore(f"tag:{name}") == item.state
        assert {pin.checkpoint.id: _place(pin.checkpoint) for pin in self.repo.pins()} == {
            digest: _place(item.checkpoint) for digest, item in self.pins.items()
        }
        assert {name: found.id for name, found in self.repo.tags().items()} == {
            name: item.checkpoint.id for name, item in self.tags.items()
        }


def _place(found: Checkpoint) -> Place:
    return found.run, found.sequence


def _killed(work: Callable[[Callable[[Progress], None]], object], at: int) -> None:
    """Work in a child that is killed at that step, or at the end."""
    pid = os.fork()
    if pid == 0:
        steps = 0

        def told(_progress: Progress) -> None:
            nonlocal steps
            steps += 1
            if steps > at:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            work(told)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "the child failed"


@pytest.mark.torture
def test_whatever_happens_the_survivors_restore_and_nothing_else_is_stored(
    rounds: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.forgetting, "BATCH", 2)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=rounds(15, 200), stateful_step_count=rounds(20, 50), deadline=None
        ),
    )
