"""The benchmark of the command line runs, and tells which command is late."""

from __future__ import annotations

import pytest

from benchmarks import commands


def test_the_commands_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [case for case in commands.CASES if "messages" in case.name or "pass" in case.name]
    late = commands.Case("late", ("-c", "pass"), 0.0)
    monkeypatch.setattr(commands, "CASES", (*few, late))
    assert commands.main(["--checkpoints", "12", "--rounds", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(few) + 1
    assert lines[-1].endswith("over")
