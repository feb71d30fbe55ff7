"""What the demo claims, and whether it is so. Pure functions of what was observed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hive.demo.effects import Effect

__all__ = ["Check", "Survey", "check_demo"]


@dataclass(frozen=True)
class Survey:
    """A run of the survey: where it works, and what its processes wrote into its log."""

    run: str
    work: Path
    effects: tuple[Effect, ...]
    report_digest: str


@dataclass(frozen=True)
class Check:
    """One claim of the demo and whether it held."""

    claim: str
    holds: bool


def check_demo(
    killed: Survey,
    unbroken: Survey,
    *,
    killed_pid: int,
    resumed_pid: int,
    killed_node: str,
    differences: int,
) -> tuple[Check, ...]:
    """Judge a survey that was killed and resumed against one that ran through.

    Args:
        killed: The survey that was killed and resumed.
        unbroken: The survey that ran through.
        killed_pid: The process that was killed.
        resumed_pid: The process that resumed.
        killed_node: The node in which it was killed.
        differences: In how many places the final states differ.
    """
    before = [effect for effect in killed.effects if effect.pid == killed_pid]
    after = [effect for effect in killed.effects if effect.pid == resumed_pid]
    finished = {effect.step for effect in before if effect.event == "finished"}
    in_flight = [effect for effect in before if effect.step not in finished]
    again = [effect for effect in after if effect.node == killed_node]
    return (
        Check(
            f"process {killed_pid} was killed while {killed_node!r} was under way",
            [effect.node for effect in in_flight] == [killed_node] and before[-1:] == in_flight,
        ),
        Check(
            f"the {len(finished)} steps it had finished did not run again",
            bool(finished)
            and killed_pid != resumed_pid
            and finished.isdisjoint(effect.step for effect in after),
        ),
        Check(
            f"{killed_node!r} ran again in process {resumed_pid}, under the same idempotency key",
            [effect.event for effect in again] == ["started", "finished"]
            and {effect.key for effect in again} == {effect.key for effect in in_flight},
        ),
        Check(
            "its report equals the uninterrupted one byte for byte (blake3 "
            f"{unbroken.report_digest[:8]})",
            killed.report_digest == unbroken.report_digest,
        ),
        Check("so does every key of its final state", differences == 0),
    )
