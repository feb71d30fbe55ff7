"""What a person at a terminal sees: tables that fit, and bars while they wait."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress as Bars

from cas.upkeep import Progress
from hive.cli import progress
from hive.cli.columns import GAP, LEAST, Column, fit
from manifests import Repository
from tests.hive.command_line import hive, on_terminal

WIDE = "日本" * 30


@pytest.fixture
def repo(home: Path) -> Repository:
    with Repository.open(home) as opened:
        state = {"messages": ["a"], WIDE: 1, "x" * 90: WIDE}
        opened.commit(WIDE, state, node="n" * 70)
        opened.commit(WIDE, {**state, "messages": ["b", WIDE]}, node=WIDE, kind="final")
        opened.tag("t" * 60, (WIDE, 1))
        return opened


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize(
    "command",
    [["runs"], ["log", WIDE], ["show", WIDE], ["stats"], ["forget", "--keep-last", "1", "-n"]],
    ids=lambda command: command[0],
)
def test_tables_fit(
    repo: Repository, monkeypatch: pytest.MonkeyPatch, command: list[str], width: int
) -> None:
    from rich.cells import cell_len

    monkeypatch.setattr("hive.cli.output.is_terminal", lambda: True)
    monkeypatch.setattr("hive.cli.output.terminal_width", lambda: width)
    ran = hive(*command)
    assert ran.code == 0
    plain = re.sub(r"\x1b\[\d+m", "", ran.output)
    table = plain[plain.rindex("\n\n") + 2 :] if command[0] in ("show", "stats") else plain
    rows = [row for row in table.splitlines() if "checkpoint" not in row]
    assert len(rows) > 1
    # At 40 columns the columns that neither shrink nor can be spared may take more.
    most = max(width, 75)
    assert all(cell_len(row) <= most for row in rows)
    assert width == 200 or "\u2026" in table


columns = st.lists(
    st.tuples(st.integers(0, 120), st.booleans(), st.integers(0, 3)), min_size=1, max_size=9
)


@given(columns, st.integers(1, 200))
def test_widths(drawn: list[tuple[int, bool, int]], room: int) -> None:
    made = [Column(title="", shrinks=shrinks, spare=spare) for _width, shrinks, spare in drawn]
    natural = [width for width, _shrinks, _spare in drawn]
    widths = fit(made, natural, room)
    total = sum(widths.values()) + GAP * (len(widths) - 1)
    if sum(natural) + GAP * (len(natural) - 1) <= room:
        assert widths == dict(enumerate(natural))
    for at, width in widths.items():
        assert width <= natural[at]
        assert width == natural[at] or (made[at].shrinks and width >= LEAST)
    gone = [made[at].spare for at in range(len(made)) if at not in widths]
    if total > room:
        # Nothing more could be done.
        assert all(not made[at].spare or len(widths) == 1 for at in widths)
        assert all(widths[at] == min(natural[at], LEAST) for at in widths if made[at].shrinks)
    assert all(gone)
    assert not gone or min(gone) >= max((made[at].spare for at in widths), default=0)


def test_a_short_task_shows_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_is_seen", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 600.0)  # short, however busy the machine is
    with progress.shown_progress() as show, progress.shown_waiting("wait"):
        assert show is not None
        show(Progress("mark", 1, 2))
    assert capsys.readouterr().err == ""


def test_a_long_task_shows_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_is_seen", lambda: True)
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    bars = Bars(console=Console(stderr=True, force_terminal=True))
    monkeypatch.setattr(progress, "_bars", lambda: bars)
    with progress.shown_progress() as show:
        assert show is not None
        show(Progress("mark", 1, 2))
        show(Progress("sweep", 0, 5))
    told = capsys.readouterr()
    assert "mark" in told.err
    assert told.out == ""


def test_nobody_is_shown_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown_progress() as show, progress.shown_waiting("wait"):
        assert show is None
    assert capsys.readouterr().err == ""


def test_a_terminal_of_80_columns(repo: Repository) -> None:
    code, shown = on_terminal("log", WIDE)
    assert code == 0
    plain = re.sub(r"\x1b\[\d+m", "", shown)
    assert "messages" in plain
    assert "\x1b" not in plain
