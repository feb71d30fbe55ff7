"""Stores of several shapes with known content, and what a salvage of one may and must give."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cas.digest import Digest
from manifests import PendingWrite, Repository, RetentionPolicy, SalvageReport
from manifests.ancestry import Behind

REBUILT = ("log", "files")
"""Keys of states that are stored now and then only, where runs are cut."""

__all__ = ["SHAPES", "Content", "Shape", "content_of", "damaged_copy", "data_file", "judge"]


@dataclass
class Content:
    """All that a store shows."""

    listed: dict[tuple[str, int], Digest] = field(default_factory=dict)
    keys: dict[tuple[str, int], str | None] = field(default_factory=dict)
    states: dict[Digest, Any] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)
    pins: dict[Digest, str] = field(default_factory=dict)
    effects: dict[str, dict[str, Any]] = field(default_factory=dict)
    pending: dict[tuple[str, int | str], list[PendingWrite]] = field(default_factory=dict)
    heads: dict[str, int] = field(default_factory=dict)
    behind: dict[tuple[str, int], dict[str, Behind]] = field(default_factory=dict)
    """What checkpoints with keys are rebuilt from, where their states lack it."""


@dataclass
class Shape:
    """A store: its content now, and all that it ever had."""

    home: Path
    now: Content
    ever: dict[Digest, Any]
    places: dict[tuple[str, int], Digest]
    """Every place that a run ever listed."""
    tags: set[tuple[str, Digest]]
    """Every tag that there ever was."""


def content_of(home: Path) -> Content:
    """Ask a store for everything."""
    found = Content()
    with Repository.open(home, create=False, read_only=True) as repo:
        for info in repo.runs():
            found.heads[info.name] = info.head.sequence
            for each in repo.log(info.name):
                place = each.run, each.sequence
                found.listed[place] = each.id
                found.keys[place] = each.key
                found.states[each.id] = repo.restore(place)
                if each.key is not None:
                    lacking = [name for name in REBUILT if name not in found.states[each.id]]
                    found.behind[place] = repo.behind(place, lacking)
                writes = repo.pending(each.run, each.key or each.sequence)
                if writes:
                    found.pending[each.run, each.key or each.sequence] = writes
            effects = repo.effects(info.name)
            if effects:
                found.effects[info.name] = effects
        found.tags = {name: each.id for name, each in repo.tags().items()}
        found.pins = {each.checkpoint.id: each.reason for each in repo.pins()}
    return found


class _Maker:
    """Makes a store and notes all that it ever had."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ever: dict[Digest, Any] = {}
        self.places: dict[tuple[str, int], Digest] = {}
        self.tags: set[tuple[str, Digest]] = set()
        self.repo = Repository.open(home)
        self.rng = random.Random(str(home.name))

    def commit(self, run: str, state: Any, **options: Any) -> None:
        saved = self.repo.commit(run, state, **options)
        self.ever[saved.id] = self.repo.restore((run, saved.sequence))
        self.places[run, saved.sequence] = saved.id

    def tag(self, name: str, ref: str) -> None:
        self.tags.add((name, self.repo.tag(name, ref, force=True).id))

    def fork(self, ref: str, run: str) -> None:
        saved = self.repo.fork(ref, run)
        self.places[run, saved.sequence] = saved.id

    def words(self, count: int) -> str:
        return " ".join(f"word{self.rng.randrange(900)}" for _ in range(count))

    def done(self) -> Shape:
        self.repo.close()
        shutil.rmtree(self.home / "objects" / "ballast", ignore_errors=True)
        (self.home / "objects" / "ballast").unlink(missing_ok=True)
        return Shape(self.home, content_of(self.home), self.ever, self.places, self.tags)


def _small(home: Path) -> Shape:
    make = _Maker(home)
    for number in range(6):
        make.commit("one", {"n": number, "text": make.words(30)}, node=f"n{number}")
    make.tag("gold", "one@3")
    make.commit("two", [1, 2, 3])
    return make.done()


def _long(home: Path) -> Shape:
    """Merged packs, branch pages in several tables."""
    make = _Maker(home)
    messages: list[str] = []
    for number in range(90):
        messages.append(make.words(make.rng.randrange(40)))
        make.commit("chat", {"messages": list(messages), "n": number})
    for number in range(25):
        name = f"run {number:02} ".ljust(300, "x")
        make.commit(name, {"n": number, "text": make.words(50)})
        make.tag(f"tag {number:02} ".ljust(300, "y"), name)
    return make.done()


def _tidied(home: Path) -> Shape:
    """Forgotten checkpoints, a deleted run, gc, compaction, and work after that."""
    make = _Maker(home)
    messages: list[str] = []
    for number in range(60):
        messages.append(make.words(20))
        make.commit("chat", {"messages": list(messages), "n": number})
        make.commit(f"side {number % 5}", {"n": number, "text": make.words(60)})
    make.tag("moved", "chat@5")
    make.tag("moved", "chat@55")
    make.repo.pin("chat@50", "why not")
    make.repo.delete_run("side 3")
    make.repo.forget(RetentionPolicy(keep_last=12))
    make.repo.gc()
    make.repo.compact()
    for number in range(15):
        make.commit("chat", {"messages": messages[number:], "n": number})
        make.commit("side 0", {"again": make.words(30)})
    make.repo.forget(RetentionPolicy(keep_last=9))
    make.repo.gc()
    make.commit("last", {"text": make.words(10)})
    return make.done()


def _keyed(home: Path) -> Shape:
    """Runs with keys, as of a framework: pending writes, effects, chains, forks."""
    make = _Maker(home)
    for thread in range(4):
        run = f"thread-{thread}"
        for step in range(14):
            key = f"1ef{step:05x}-0000-6000-8000-{thread:012x}"
            make.commit(
                run,
                {"step": step, "messages": [make.words(12) for _ in range(step)]},
                key=key,
                parent=None if not step else (run, step),
                needs_parent=step % 5 == 4,
            )
            writes = [
                PendingWrite("task-a", 0, "messages", make.words(3)),
                PendingWrite("task-b", 0, "blob", {"long": make.words(80)}, "path"),
            ]
            make.repo.put_pending(run, key, writes)
        make.repo.record_effect(run, "sent", {"to": thread})
        make.repo.record_effect(run, "paid", make.words(90))
    make.repo.forget(["thread-1@3", "thread-1@7"])
    for number in range(5):
        make.commit("plain", {"n": number})
    make.fork("plain@3", "forked")
    make.commit("forked", {"n": "other"})
    return make.done()


def _cut(home: Path) -> Shape:
    """Runs with two keys of which each is stored whole at steps of its own, forgotten but for one.

    What the newest is rebuilt from is not listed, and leads past what it is not rebuilt from.
    """
    make = _Maker(home)
    for thread in range(3):
        run = f"thread-{thread}"
        for step in range(50):
            key = f"1ef{step:05x}-0000-6000-8000-{thread:012x}"
            stored = {
                name: [step] for name, at in zip(REBUILT, (17, 23), strict=True) if step % at == 0
            }
            make.commit(
                run,
                {"step": step, **stored},
                key=key,
                parent=None if not step else (run, step),
                needs_parent=step > 0,
                execution={"rebuilt": list(REBUILT)},
            )
            written = REBUILT[: 1 + (step % 5 == 0)]
            writes = [PendingWrite("task", at, name, f"{step}") for at, name in enumerate(written)]
            make.repo.put_pending(run, key, writes)
        policy = RetentionPolicy(mode="latest_only")
        make.repo.forget(policy, run=run, rebuilt=lambda execution: execution["rebuilt"])
    return make.done()


SHAPES: dict[str, Callable[[Path], Shape]] = {
    "small": _small,
    "long": _long,
    "tidied": _tidied,
    "keyed": _keyed,
    "cut": _cut,
}


def data_file(home: Path) -> Path:
    """The data file of the current generation of a home."""
    (path,) = (home / "objects").glob("g*/data.mdb")
    return path


def damaged_copy(shape: Shape, place: Path, data: bytes) -> Path:
    """Copy a home, with another data file."""
    shutil.copytree(shape.home, place)
    data_file(place).write_bytes(data)
    return place


def judge(shape: Shape, report: SalvageReport, into: Path) -> set[tuple[str, int]]:
    """Assert that nothing in a salvaged store is wrong; returns the places that it lacks.

    Nothing is made up, what is missing is admitted, the new store is sound and goes on.
    """
    found = content_of(into)
    now = shape.now
    moved = {(run, after) for run, _before, after in report.moved_heads}
    for place, digest in found.listed.items():
        assert found.states[digest] == shape.ever[digest], f"{place} has a wrong state"
        run, sequence = place
        known_again = "(recovered" in run or report.fixed
        if place not in shape.places:
            last = max((s for r, s in shape.places if r == run), default=0)
            assert moved or known_again, f"{place} was never listed ({last})"
        else:
            assert shape.places[place] == digest, f"{place} is another checkpoint"
            if place in now.listed:
                assert found.keys[place] == now.keys[place]
    certain = {name for name in found.tags if f"tag:{name}" not in report.uncertain}
    for name in certain:
        assert found.tags[name] == now.tags[name], f"tag {name} leads elsewhere"
    assert {(name, found.tags[name]) for name in found.tags} <= shape.tags
    for digest, reason in found.pins.items():
        assert now.pins.get(digest) == reason or report.uncertain
    for run, effects in found.effects.items():
        known = now.effects.get(run, {})
        assert effects.items() <= known.items() or "(recovered" in run
    for anchor, writes in found.pending.items():
        if anchor in now.pending:
            assert all(write in now.pending[anchor] for write in writes)
    if not any("pending" in each for each in (*report.lost, *report.missing)):
        for place in now.behind.keys() & found.listed.keys():
            assert found.behind[place] == now.behind[place], f"{place} is rebuilt from less"
    said = (*report.lost, *report.missing, *report.uncertain, *report.fixed)
    # What was beside a lost checkpoint goes with it.
    left = now.listed.keys() & found.listed.keys()
    anchors = {*left, *((place[0], now.keys[place]) for place in left)}
    beside = {
        "tag": now.tags.keys() - found.tags.keys(),
        "pin": now.pins.keys() - found.pins.keys(),
        "effect": now.effects.keys() & {run for run, _ in left} - found.effects.keys(),
        "pending": now.pending.keys() & anchors - found.pending.keys(),
    }
    for what, gone in beside.items():
        assert not gone or any(what in each or "last commit" in each for each in said), what
    lacking = {place for place in now.listed if place not in found.listed}
    extra = {place for place in found.listed if place not in now.listed}
    uncertain = set(report.uncertain)
    moved_runs = {run for run, _before, _after in report.moved_heads}
    for run, sequence in extra:
        if run in moved_runs:
            continue
        is_named = f"{run}@{sequence}" in uncertain or f"run:{run}" in uncertain or report.fixed
        assert is_named, f"{run}@{sequence} came back in silence"
    whole = (
        not lacking
        and found.tags == now.tags
        and found.pins == now.pins
        and found.effects == now.effects
        and found.pending == now.pending
    )
    if not whole:
        assert not report.ok or uncertain or report.fixed, "something is missing in silence"
    with Repository.open(into) as repo:
        assert not repo.check().damage
        repo.commit("a new run", {"n": 1})
        assert repo.restore("a new run") == {"n": 1}
        assert not repo.check().damage
    return lacking
