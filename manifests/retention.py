"""Retention: which checkpoints a policy keeps, and why. Pure: it looks at no store and no clock.

A checkpoint is kept if anything keeps it: a protection (head, tag, ...), a rule of the policy, or
another kept checkpoint that cannot be used without it. Limits then take away what only rules keep.
Order is that of sequences; moments count for ``keep_within`` and ``keep_every`` alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import pydantic

from cas.errors import InvalidInputError
from manifests.manifest import Checkpoint
from manifests.spans import Span

__all__ = [
    "NEEDED",
    "Candidate",
    "KeepEvery",
    "Needed",
    "Plan",
    "Reason",
    "RetentionPolicy",
    "Verdict",
    "Weigh",
    "plan",
]

NEEDED: Final = "needed"
"""The rule that keeps a checkpoint for another one, which cannot be used without it."""


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class KeepEvery(_Frozen):
    """Thin out: of each hour, day or week (UTC, weeks from Monday), keep the newest checkpoint.

    ``count`` limits it to that many of the latest spans that have a checkpoint, so a run that rests
    for a month does not lose its last thirty days of work; None: all spans.
    """

    unit: Literal["hour", "day", "week"]
    count: int | None = pydantic.Field(default=None, ge=1)


class RetentionPolicy(_Frozen):
    """What to keep. A checkpoint is kept if any rule keeps it, as far as the limits allow.

    Whatever it says, these are kept: the head of a run, its newest checkpoint that an executor can
    resume, tagged and pinned ones, those with unresolved pending writes, and what a kept one needs.

    Attributes:
        mode: ``all``: every checkpoint, up to the limits. ``latest_only``: none but those above.
            ``prune_old``: those that a rule keeps. Without it: ``prune_old`` if there is a rule,
            else ``all``.
        keep_last: Of each run, this many of the newest.
        keep_within: Those created at most this long ago (inclusive).
        keep_every: Of each run, the newest of each hour, day or week.
        keep_tagged: Tagged ones. They are kept in any case; this lets a policy consist of it.
        keep_kinds: Those of these kinds, such as ``paused``, ``failed``, ``final``. Applied to a
            store, each must be one that Hive writes or that a checkpoint there has.
        keep_tips: The ends of branches that a run left, too. They are the only way back to what
            was done there.
        max_checkpoints_per_run: At most so many of a run; the oldest go first.
        max_bytes_per_run: At most so many bytes of distinct objects of a run (payload,
            uncompressed); the oldest checkpoints go first.
        max_checkpoints: At most so many of all runs; the runs extended longest ago go first, of
            each the oldest checkpoints.
        max_bytes: Likewise, in bytes of distinct objects of all runs.
    """

    mode: Literal["all", "latest_only", "prune_old"] = "all"
    keep_last: int | None = pydantic.Field(default=None, ge=1)
    keep_within: Span | None = pydantic.Field(default=None, ge=dt.timedelta(0))
    keep_every: tuple[KeepEvery, ...] = ()
    keep_tagged: bool = False
    keep_kinds: frozenset[str] = frozenset()
    keep_tips: bool = True
    max_checkpoints_per_run: int | None = pydantic.Field(default=None, ge=1)
    max_bytes_per_run: int | None = pydantic.Field(default=None, ge=0)
    max_checkpoints: int | None = pydantic.Field(default=None, ge=1)
    max_bytes: int | None = pydantic.Field(default=None, ge=0)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _choose_mode(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("mode") is None:
            ruled = any(_is_given(fields.get(name)) for name in _RULES)
            return {**fields, "mode": "prune_old" if ruled else "all"}
        return fields

    @pydantic.model_validator(mode="after")
    def _refuse_what_would_be_ignored(self) -> Self:
        rules = [name for name in _RULES if _is_given(getattr(self, name))]
        if self.mode == "prune_old" and not rules:
            raise ValueError(f"mode 'prune_old' needs a rule: {', '.join(_RULES)}")
        if self.mode != "prune_old" and rules:
            raise ValueError(f"{', '.join(rules)}: for mode 'prune_old', not {self.mode!r}")
        return self

    @property
    def weighs(self) -> bool:
        """Whether the sizes of checkpoints are needed to apply it."""
        return self.max_bytes is not None or self.max_bytes_per_run is not None


def _is_given(value: Any) -> bool:
    """Whether a rule is set; a span of nothing is one."""
    return value == dt.timedelta(0) or bool(value)


_RULES: Final = ("keep_last", "keep_within", "keep_every", "keep_tagged", "keep_kinds")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A listed checkpoint with what decides about it.

    Attributes:
        checkpoint: The checkpoint.
        record: The record of its manifest, for whoever weighs it.
        is_head: It is the head of its run.
        is_tip: It is the end of a branch that its run left.
        tags: Names of its tags.
        pin: Why it is pinned, perhaps empty; None if it is not.
        is_pending: It has pending writes that no later checkpoint resolves.
        is_hidden: It is not listed any more and stays only as long as another one needs it.
        needs: Sequence of the checkpoint of its run it cannot be used without; 0: none.
        rank: Of its run: the higher, the later it was extended.
    """

    checkpoint: Checkpoint
    record: int = 0
    is_head: bool = False
    is_tip: bool = False
    tags: tuple[str, ...] = ()
    pin: str | None = None
    is_pending: bool = False
    is_hidden: bool = False
    needs: int = 0
    rank: int = 0

    @property
    def place(self) -> tuple[str, int]:
        """Run and sequence."""
        return self.checkpoint.run, self.checkpoint.sequence


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a checkpoint is kept or dropped: a stable word for programs, a text for people."""

    rule: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a checkpoint, and why. There is always a reason.

    ``hidden``: it is kept for others alone, and leaves its run's list if it has not yet.
    """

    checkpoint: Checkpoint
    keep: bool
    reasons: tuple[Reason, ...]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """One verdict for each checkpoint, by run (as given) and newest first."""

    verdicts: tuple[Verdict, ...]

    @property
    def kept(self) -> list[Checkpoint]:
        """The checkpoints that stay."""
        return [verdict.checkpoint for verdict in self.verdicts if verdict.keep]

    @property
    def dropped(self) -> list[Checkpoint]:
        """The checkpoints that go."""
        return [verdict.checkpoint for verdict in self.verdicts if not verdict.keep]


Weigh = Callable[[Sequence[Candidate]], Sequence[int]]
"""Returns how many bytes of objects each checkpoint adds to those of the ones before it."""

Needed = Callable[[int], Sequence[int]]
"""Returns the sequences that a checkpoint of a run cannot be used without, newest first."""


def plan(
    candidates: Iterable[Candidate],
    policy: RetentionPolicy,
    now: dt.datetime,
    *,
    weigh: Weigh | None = None,
    needed: Mapping[str, Needed] | None = None,
) -> Plan:
    """Decide which checkpoints stay.

    Args:
        candidates: All listed checkpoints of the runs in question.
        policy: The policy. Its limits for the store count the candidates.
        now: The moment that ``keep_within`` counts back from, with a time zone.
        weigh: Weighs checkpoints; needed by policies with limits in bytes.
        needed: By run, what says what a checkpoint needs; what it keeps only for others is hidden.
            Of any other run, each that needs its parent needs what that needs too.

    Raises:
        InvalidInputError: The policy limits bytes and there is no ``weigh``.
    """
    if policy.weighs and weigh is None:
        raise InvalidInputError("a policy that limits bytes needs a way to weigh checkpoints")
    return _Planner(candidates, policy, now, weigh or _weightless, needed or {}).plan()


def _weightless(candidates: Sequence[Candidate]) -> Sequence[int]:
    return [0] * len(candidates)


class _Planner:
    def __init__(
        self,
        candidates: Iterable[Candidate],
        policy: RetentionPolicy,
        now: dt.datetime,
        weigh: Weigh,
        needed: Mapping[str, Needed],
    ) -> None:
        self._policy = policy
        self._now = now
        self._weigh = weigh
        self._behind = needed
        runs: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            runs.setdefault(candidate.checkpoint.run, []).append(candidate)
        self._runs = [sorted(run, key=_age, reverse=True) for run in runs.values()]
        self._by_place = {item.place: item for run in self._runs for item in run}
        self._protections: dict[Candidate, list[Reason]] = {}
        self._keeps: dict[Candidate, list[Reason]] = {}
        self._limited: dict[Candidate, Reason] = {}

    def plan(self) -> Plan:
        for run in self._runs:
            self._protect(run)
            self._apply_rules(run)
            self._limit(
                [run],
                "_per_run",
                self._policy.max_checkpoints_per_run,
                self._policy.max_bytes_per_run,
            )
        latest_first = sorted(self._runs, key=lambda run: run[0].rank, reverse=True)
        self._limit(latest_first, "", self._policy.max_checkpoints, self._policy.max_bytes)
        needed = self._needed()
        verdicts = []
        for candidate in self._by_place.values():
            reasons = [*self._protections.get(candidate, ()), *needed.get(candidate, ())]
            if candidate not in self._limited:
                reasons += self._keeps.get(candidate, ())
            drop = self._limited.get(candidate) or self._no_rule
            keep = bool(reasons)
            told = candidate.is_hidden or candidate.checkpoint.run in self._behind
            hidden = keep and told and all(reason.rule == NEEDED for reason in reasons)
            verdicts.append(
                Verdict(candidate.checkpoint, keep, tuple(reasons) if keep else (drop,), hidden)
            )
        return Plan(tuple(verdicts))

    @property
    def _no_rule(self) -> Reason:
        if self._policy.mode == "latest_only":
            return Reason("latest_only", "not the latest of its run")
        return Reason("no_rule", "no rule keeps it")

    def _protect(self, run: list[Candidate]) -> None:
        run = [item for item in run if not item.is_hidden]
        resumable = next((item for item in run if item.checkpoint.graph is not None), None)
        for item in run:
            reasons = [Reason("tag", f"has the tag {name!r}") for name in item.tags]
            if item.is_head:
                reasons.append(Reason("head", "head of its run"))
            if item is resumable:
                reasons.append(Reason("resumable", "newest that can be resumed"))
            if item.pin is not None:
                reasons.append(Reason("pin", f"pinned: {item.pin}" if item.pin else "pinned"))
            if item.is_pending:
                reasons.append(Reason("pending", "has pending writes"))
            if item.is_tip and self._policy.keep_tips:
                reasons.append(Reason("tip", "end of another branch"))
            if reasons:
                self._protections[item] = reasons

    def _apply_rules(self, run: list[Candidate]) -> None:
        policy = self._policy
        self._keeps.update((item, []) for item in run if item.is_hidden)
        run = [item for item in run if not item.is_hidden]
        for age, item in enumerate(run):
            reasons = self._keeps.setdefault(item, [])
            if policy.mode == "all":
                reasons.append(Reason("all", "all are kept"))
            if policy.keep_last is not None and age < policy.keep_last:
                reasons.append(Reason("keep_last", _of_newest(policy.keep_last)))
            within = policy.keep_within
            if within is not None and self._now - item.checkpoint.created_at <= within:
                reasons.append(Reason("keep_within", f"not older than {within}"))
            if item.checkpoint.kind in policy.keep_kinds:
                reasons.append(Reason("keep_kinds", f"of kind {item.checkpoint.kind!r}"))
        for every in policy.keep_every:
            newest: dict[dt.datetime, Candidate] = {}
            for item in run:
                newest.setdefault(_span(item.checkpoint.created_at, every.unit), item)
            for span in sorted(newest, reverse=True)[: every.count]:
                text = f"newest of the {every.unit} from {span:%Y-%m-%d %H:%M}"
                self._keeps[newest[span]].append(Reason("keep_every", text))

    def _limit(
        self, runs: list[list[Candidate]], scope: str, most: int | None, most_bytes: int | None
    ) -> None:
        """Take away the least important that only rules keep; ``runs`` are latest first."""
        if most is None and most_bytes is None:
            return
        included, fixed, ends = self._included([item for run in runs for item in run])
        weights = self._weigh(included) if most_bytes is not None else [0] * len(included)
        weight, at, reason = sum(weights[:fixed]), fixed, None
        for item, end in ends:
            weight += sum(weights[at:end])
            at = max(at, end)
            if reason is None and end > fixed:
                if most is not None and end > most:
                    reason = Reason(f"max_checkpoints{scope}", f"beyond {most} checkpoints")
                elif most_bytes is not None and weight > most_bytes:
                    reason = Reason(f"max_bytes{scope}", f"beyond {most_bytes} bytes")
            if reason is not None:
                self._limited[item] = reason

    def _included(
        self, items: Sequence[Candidate]
    ) -> tuple[list[Candidate], int, list[tuple[Candidate, int]]]:
        """Return what is kept of some checkpoints, with what it needs, the protected ones first.

        Also how many of these that makes, and for each of the others how many there are with it.
        """
        included: dict[Candidate, None] = {}
        for item in items:
            if item in self._protections:
                included.update(dict.fromkeys(self._chain(item)))
        fixed = len(included)
        ends: list[tuple[Candidate, int]] = []
        for item in items:
            if self._keeps[item] and item not in self._limited:
                included.update(dict.fromkeys(self._chain(item)))
                ends.append((item, len(included)))
        return list(included), fixed, ends

    def _chain(self, item: Candidate) -> list[Candidate]:
        """Return a checkpoint behind those of its run that it cannot be used without."""
        run, sequence = item.place
        told = self._behind.get(run)
        behind = self._all_behind(item) if told is None else told(sequence)
        places = [(run, at) for at in behind]
        return [*(self._by_place[at] for at in reversed(places) if at in self._by_place), item]

    def _all_behind(self, item: Candidate | None) -> Iterator[int]:
        while item is not None and item.needs:
            yield item.needs
            item = self._by_place.get((item.checkpoint.run, item.needs))

    def _needed(self) -> dict[Candidate, list[Reason]]:
        needed: dict[Candidate, list[Reason]] = {}
        for item in self._by_place.values():
            if item in self._protections or (self._keeps[item] and item not in self._limited):
                for ancestor in self._chain(item)[:-1]:
                    run, sequence = item.place
                    needed.setdefault(ancestor, [Reason(NEEDED, f"needed by {run}@{sequence}")])
        return needed


def _age(item: Candidate) -> tuple[str, int]:
    """Return what orders the checkpoints of a run: its framework's keys if it has them."""
    return item.checkpoint.key or "", item.checkpoint.sequence


def _span(moment: dt.datetime, unit: str) -> dt.datetime:
    """Return the beginning of the hour, day or week of a moment, in UTC."""
    start = moment.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    if unit != "hour":
        start = start.replace(hour=0)
    if unit == "week":
        start -= dt.timedelta(days=start.weekday())
    return start


def _of_newest(number: int) -> str:
    return "the newest" if number == 1 else f"one of the {number} newest"
