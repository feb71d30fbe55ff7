"""How checkpoints are written and kept."""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["CheckpointConfig"]


class CheckpointConfig(BaseModel):
    """Configuration of a ``CheckpointManager``.

    Attributes:
        enabled: False: nothing is saved, and no store is opened or created.
        durability: ``sync``: a checkpoint is on disk before the next node starts. ``async``: it is
            taken before the next node starts, and written by a background thread, in order; a
            crash loses at most what was not written yet, never something in between. ``exit``:
            only the last one is written, at the end, at a pause, at ``flush`` and at ``close``.
        retention: ``all`` checkpoints of a run are kept; ``latest_only`` the newest;
            ``prune_old`` those that ``keep_last``, ``max_age`` or ``keep_kinds`` keeps. Whatever it
            says, a run's head, the newest checkpoint that can be resumed, tagged and pinned ones,
            ends of branches and what a kept one needs are kept. It is applied in the background,
            once for half as many saves as are kept (at least 16), and at ``flush``.
        keep_last: For ``prune_old``: keep this many of the newest checkpoints.
        max_age: For ``prune_old``: keep those at most this much older than the newest.
        keep_kinds: For ``prune_old``: keep those of these kinds, such as ``paused`` or ``final``.
            Nothing is dropped while one is neither Hive's nor that of any checkpoint.
        max_checkpoints: Of all runs of the store together, whoever saves them, keep at most so
            many; the runs extended longest ago go first. In the background, as ``retention``.
        max_bytes: Likewise, in bytes of distinct objects, uncompressed.
        gc_seconds: Also free the space of what was dropped, in the background: when it has become
            much, and at ``close``, for about so long at a time. None: left to ``hive gc``.
        on_save_error: When a checkpoint cannot be written: ``raise`` the error to the caller, or
            ``warn`` and go on without that checkpoint. A ``ConflictError`` is always raised:
            somebody else continues the run.
        save_failed_attempts: Save after each failed attempt of a node, so that a crash does not
            make the attempts count from one again.
        save_node_starts: Save before the first attempt of each visit of a node, so that the history
            shows which node was in flight.
        write_attempts: How often a write is tried in all, when the error may pass.
        retry_delay_seconds: Wait before the second try; doubled for each further one.
        max_pending: For ``async``: how many encoded checkpoints may wait to be written, inclusive,
            before a save waits too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    durability: Literal["sync", "async", "exit"] = "sync"
    retention: Literal["all", "latest_only", "prune_old"] = "all"
    keep_last: int | None = Field(default=None, ge=1)
    max_age: dt.timedelta | None = Field(default=None, ge=dt.timedelta(0))
    keep_kinds: frozenset[str] = frozenset()
    max_checkpoints: int | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=0)
    gc_seconds: float | None = Field(default=None, gt=0.0)
    on_save_error: Literal["raise", "warn"] = "raise"
    save_failed_attempts: bool = True
    save_node_starts: bool = False
    write_attempts: int = Field(default=4, ge=1)
    retry_delay_seconds: float = Field(default=0.05, ge=0.0)
    max_pending: int = Field(default=64, ge=1)

    @field_validator("max_age", mode="before")
    @classmethod
    def _refuse_number(cls, value: Any) -> Any:
        from manifests.spans import refuse_number  # late: importing this loads no store

        return refuse_number(value)

    @model_validator(mode="after")
    def _check_retention(self) -> Self:
        rules = self.keep_last is not None or self.max_age is not None or bool(self.keep_kinds)
        if self.retention == "prune_old" and not rules:
            raise ValueError("retention 'prune_old' needs keep_last, max_age or keep_kinds")
        if self.retention != "prune_old" and rules:
            raise ValueError(
                "keep_last, max_age and keep_kinds are for retention 'prune_old', not "
                f"{self.retention!r}"
            )
        return self
