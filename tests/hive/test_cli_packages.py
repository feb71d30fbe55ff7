"""A missing optional package is one line and one exit code, whatever needs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hive.command_line import environment, spawn


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("uvicorn", ["ui", "--no-browser"], "hive-checkpoints[ui]"),
        ("langgraph", ["import-langgraph", "sqlite:///x.db"], "hive-checkpoints[langgraph]"),
        ("langgraph.checkpoint.sqlite", ["import-langgraph", "sqlite:///x.db"], "sqlite"),
        ("yaml", ["run", "agent.yaml"], "hive-checkpoints[yaml]"),
    ],
)
def test_a_missing_package_is_named(
    package: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(f"import sys\nsys.modules[{package!r}] = None\n")
    (tmp_path / "agent.yaml").write_text("goal: {id: g}\n")
    env = environment(HIVE_HOME=str(tmp_path / "home"))
    env["PYTHONPATH"] = f"{hooks}:{env['PYTHONPATH']}"
    ran = spawn(*arguments, cwd=tmp_path, env=env)
    assert (ran.code, ran.output, ran.errors.count("\n")) == (2, "", 1), ran.errors
    assert "pip install" in ran.errors
    assert extra in ran.errors
    assert not (tmp_path / "home").exists()
