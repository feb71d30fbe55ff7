"""How far a run has come: everything besides its memory that a checkpoint must hold to resume.

The state of a checkpoint is the memory alone; this goes into its execution record, together with
the canonical texts of graph and goal and the decisions so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hive import errors

__all__ = ["EXECUTOR", "Finished", "Progress", "Status"]

Status = Literal["running", "paused", "completed", "failed"]

EXECUTOR: Final = "graph"
"""Marks the execution records of the graph executor; other executors have words of their own."""

FORMAT: Final = 1


class Finished(BaseModel):
    """A node that is done although what follows it could not be determined.

    Kept so that a resumed run repeats the routing and not the node.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    node: str
    success: bool
    output: dict[str, Any]
    error: str | None
    next_node: str | None
    node_input: dict[str, Any]


class Progress(BaseModel):
    """The mutable progress of one run.

    A visit that has not ended counts nowhere but in ``failed_attempts`` and the totals: a resumed
    run makes the same visit again, with the same number.

    Attributes:
        next_node: The node to visit next, or again; None when the run is over.
        input_data: The input of ``next_node``.
        inputs: Every input the run was given; the original one first, then those at resumes.
        status: Where the run stands.
        path: The nodes visited so far, in order.
        steps: How many visits ended; compared with ``max_steps``.
        total_tokens: Tokens of all attempts, failed ones included.
        total_latency_ms: Milliseconds of all attempts, failed ones included.
        visits: How often each node was visited.
        retries: Failed attempts of each node in visits that ended.
        failed_attempts: Failed attempts of the visit of ``next_node`` that goes on.
        paused_at: The pause node after which the run waits.
        error: Why the run failed.
        finished: Set where the run failed while it looked for the node after this one.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    next_node: str | None
    input_data: dict[str, Any]
    inputs: list[dict[str, Any]] = Field(default_factory=list)
    status: Status = "running"
    path: list[str] = Field(default_factory=list)
    steps: int = 0
    total_tokens: int = 0
    total_latency_ms: int = 0
    visits: dict[str, int] = Field(default_factory=dict)
    retries: dict[str, int] = Field(default_factory=dict)
    failed_attempts: int = 0
    paused_at: str | None = None
    error: str | None = None
    finished: Finished | None = None

    def to_record(self) -> dict[str, Any]:
        """Return the progress as a dict that shares its values with this object.

        ``model_dump`` would turn the user's own models inside the inputs into dicts.
        """
        record = {name: getattr(self, name) for name in type(self).model_fields}
        if self.finished is not None:
            record["finished"] = {
                name: getattr(self.finished, name) for name in Finished.model_fields
            }
        return {"executor": EXECUTOR, "format": FORMAT, **record}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Progress:
        """Rebuild the progress from a record, ignoring what else the record carries.

        Raises:
            UnsupportedFormatError: The record is of a newer Hive.
            InvalidInputError: It is no record of this executor.
        """
        if record.get("executor") != EXECUTOR:
            raise errors.InvalidInputError(
                "this checkpoint was not written by a graph executor, so there is nothing to "
                "continue: restore its state instead"
            )
        if record.get("format") != FORMAT:
            raise errors.UnsupportedFormatError(
                f"execution record format {record.get('format')!r} is not known here (this Hive "
                f"knows {FORMAT}): upgrade hive-checkpoints"
            )
        fields = {name: record[name] for name in cls.model_fields if name in record}
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, item["loc"])) for item in error.errors())
            raise errors.InvalidInputError(f"execution record is malformed at {places}") from None
