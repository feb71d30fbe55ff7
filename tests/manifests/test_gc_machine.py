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
from manifests import Checkpoint, ForgetPlan, Repository, RetentionPolicy
from tests.manifests.policies import policies

NOON = dt.datetime(2026, 3, 4, 12, tzinfo=dt.UTC)
INDEX = st.integers(0, 999)
Place = tuple[str, int]


@dataclass
class Listed:
    """A checkpoint as the model lists it."""

    checkpoint: Checkpoint
    state: Any
    is_tip: bool = False


@dataclass
class Run:
    """A run of the model; its head is its highest sequence."""

    kept: dict[int, Listed] = field(default_factory=dict)


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
        self.bundled: dict[Place, Listed] = {}

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

    def note(self, checkpoint: Checkpoint, state: Any) -> None:
        run = self.runs.setdefault(checkpoint.run, Run())
        run.kept[checkpoint.sequence] = Listed(checkpoint, copy.deepcopy(state))

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
        kept = self.runs[parent.run].kept
        head = max(kept)
        state = self.grown(parent.run, 1, word)
        found = self.repo.commit(parent.run, state, parent=(parent.run, parent.sequence))
        kept[head].is_tip = kept[head].is_tip or parent.sequence != head
        self.note(found, state)

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
        self.note(self.repo.fork(place, name), origin.state)
        self.live[name] = copy.deepcopy(origin.state)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def delete_run(self, index: int) -> None:
        name = self.pick(index).checkpoint.run
        self.repo.delete_run(name, force=True)
        # A tag or pin of it may stand for the same checkpoint in a fork, and be kept for that.
        ids = {listed.checkpoint.id for listed in self.runs.pop(name).kept.values()}
        self.live.pop(name, None)
        tags = self.repo.tags()
        assert all(self.tags[tag].checkpoint.id in ids for tag in self.tags.keys() - tags.keys())
        self.tags = {tag: self.tags[tag] for tag in tags}
        pins = {pin.checkpoint.id for pin in self.repo.pins()}
        assert self.pins.keys() - pins <= ids
        self.pins = {digest: self.pins[digest] for digest in pins}

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
        must_stay = self._is_protected(found) or self._is_last_resumable(found)
        if must_stay:
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

    def _is_protected(self, found: Checkpoint) -> bool:
        is_tagged = any(listed.checkpoint.id == found.id for listed in self.tags.values())
        is_head = found.sequence == max(self.runs[found.run].kept)
        return is_head or is_tagged or found.id in self.pins

    def _is_last_resumable(self, found: Checkpoint) -> bool:
        kept = self.runs[found.run].kept
        resumable = [sequence for sequence, item in kept.items() if item.checkpoint.graph]
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
            numbers = [reader.find(name) for name in names]
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
        run = self.pick(index).checkpoint.run
        self.repo.export([run], self.home / "bundle", history=True)
        kept = self.runs[run].kept
        self.bundled = {(run, sequence): listed for sequence, listed in kept.items()}

    @precondition(lambda self: self.bundled)
    @rule()
    def import_again(self) -> None:
        """What was forgotten, and perhaps swept, comes back."""
        try:
            report = self.repo.import_bundle(self.home / "bundle")
        except ConflictError:
            return  # the run was deleted, and another one has its name
        for run, sequence in report.checkpoints:
            listed = self.bundled[run, sequence]
            found = self.repo.resolve((run, sequence))
            assert found.id == listed.checkpoint.id
            kept = self.runs.setdefault(run, Run()).kept
            kept[sequence] = Listed(found, listed.state, listed.is_tip)
            self.live.setdefault(run, copy.deepcopy(listed.state))

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
        for item in [*self.everything(), *self.tags.values(), *self.pins.values()]:
            assert self.repo.restore(item.checkpoint.id) == item.state
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
