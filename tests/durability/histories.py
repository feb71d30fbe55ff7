"""A store with known content, and what it says when something is wrong with it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from cas.digest import Digest
from cas.errors import HiveError
from manifests import Checkpoint, Repository, RunInfo

__all__ = ["Known", "Outcome", "build", "look"]


@dataclass
class Known:
    """What was put into a store and must come out of it."""

    states: dict[tuple[str, int], Any] = field(default_factory=dict)
    checkpoints: dict[tuple[str, int], Checkpoint] = field(default_factory=dict)
    runs: list[RunInfo] = field(default_factory=list)
    logs: dict[str, list[Checkpoint]] = field(default_factory=dict)
    tags: dict[str, Checkpoint] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a store gave: wrong answers, and documented errors by their code."""

    wrong: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def ask(self, what: str, question: Callable[[], Any], answer: Any) -> None:
        """Note whether a question is answered rightly, wrongly, or with a documented error."""
        try:
            if question() != answer:
                self.wrong.append(what)
        except HiveError as error:
            self.errors[error.code] += 1

    def __str__(self) -> str:
        if self.wrong:
            return f"wrong: {', '.join(self.wrong[:4])}"
        return ", ".join(sorted(self.errors)) or "right"


def build(home: Path) -> Known:
    """Fill a store: a long run, short ones, tags. Long names give small tables branch pages."""
    rng = random.Random(4)
    known = Known()
    with Repository.open(home) as repo:
        for number in range(14):
            name = f"run {number:02} ".ljust(330, "x")
            state: dict[str, Any] = {"messages": [], "n": 0}
            for step in range(1 if number else 70):
                state["messages"].append({"content": f"{number} {step} " * rng.randint(1, 25)})
                state["n"] = step
                checkpoint = repo.commit(name, state, node=f"node {step}", execution={"step": step})
                key = (name, checkpoint.sequence)
                known.states[key] = {"messages": list(state["messages"]), "n": step}
                known.checkpoints[key] = checkpoint
            repo.tag(f"tag {number:02} ".ljust(330, "y"), name)
        known.runs, known.tags = repo.runs(), repo.tags()
        known.logs = {info.name: repo.log(info.name) for info in known.runs}
    return known


def look(home: Path, known: Known, *, write: bool = True) -> Outcome:
    """Ask a store for everything it should know, and let it go on."""
    outcome = Outcome()
    try:
        repo = Repository.open(home, create=False)
    except HiveError as error:
        outcome.errors[f"open: {error.code}"] += 1
        return outcome
    with repo:
        _ask_everything(repo, known, outcome)
        if write and not outcome.wrong:
            _go_on(repo, known, outcome)
    return outcome


def _ask_everything(repo: Repository, known: Known, outcome: Outcome) -> None:
    for key, state in known.states.items():
        outcome.ask(f"state of {_place(key)}", partial(repo.restore, key), state)
    for key in list(known.states)[::9]:
        checkpoint = known.checkpoints[key]
        outcome.ask(f"id of {_place(key)}", partial(_id, repo, checkpoint.id), checkpoint.id)
        outcome.ask(
            f"execution of {_place(key)}", partial(repo.execution, key), {"step": key[1] - 1}
        )
    outcome.ask("runs", repo.runs, known.runs)
    outcome.ask("tags", repo.tags, known.tags)
    for name, log in known.logs.items():
        outcome.ask(f"log of {name[:6]}", partial(repo.log, name), log)
    outcome.ask("stats", lambda: repo.stats().checkpoints, len(known.states))


def _go_on(repo: Repository, known: Known, outcome: Outcome) -> None:
    for name in list(known.logs)[::4]:
        last = known.logs[name][0].sequence
        state = known.states[name, last] | {"more": 1}
        outcome.ask(f"next of {name[:6]}", partial(_sequence, repo, name, state), last + 1)
    fresh = {"a new": "run"}
    outcome.ask("a new run", partial(_sequence, repo, "new", fresh), 1)
    outcome.ask("state of the new run", partial(repo.restore, "new"), fresh)
    for key in list(known.states)[::5]:
        outcome.ask(f"state of {_place(key)}", partial(repo.restore, key), known.states[key])


def _place(key: tuple[str, int]) -> str:
    return f"{key[0][:6]}@{key[1]}"


def _id(repo: Repository, digest: Digest) -> Digest:
    return repo.resolve(digest).id


def _sequence(repo: Repository, run: str, state: Any) -> int:
    return repo.commit(run, state).sequence
