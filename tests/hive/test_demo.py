from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hive.demo.checks import Survey, check_demo
from hive.demo.driver import DemoError, Outcome, run_demo
from hive.demo.effects import LOG_NAME, Effect, append_effect, read_effects
from hive.demo.files import Limits
from manifests import Repository
from tests.hive.command_line import HIVE, PROJECT, environment, hive, spawn

BEES = """# Bees

Bees gather nectar from flowers in the whole valley. They dance to tell the others where it is.

## Honey

The hive keeps honey through the long winter months. Bees seal each cell with wax.

"""


def valley(place: Path) -> Path:
    """Fill a folder with a few documents and a picture."""
    for number in range(9):
        (place / f"{number}.md").write_text(BEES * (number + 1) + f"\nFlower {number}.\n")
    (place / "photo.jpg").write_bytes(b"\xff\xd8\0\0")
    return place


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, demo_home: Path) -> Outcome:
    """What one demo did; several tests look at it."""
    told: list[str] = []
    found = run_demo(
        valley(tmp_path_factory.mktemp("valley")),
        demo_home,
        hive=HIVE,
        environment=environment(),
        limits=Limits(),
        tell=told.append,
    )
    assert len(told) == 3
    return found


def test_every_check_holds(outcome: Outcome) -> None:
    assert [check.claim for check in outcome.checks if not check.holds] == []
    assert len(outcome.checks) == 5


def test_the_first_process_was_killed_in_the_middle_of_a_node(outcome: Outcome) -> None:
    before = [effect for effect in outcome.killed.effects if effect.pid == outcome.killed_pid]
    assert [(effect.event, effect.node) for effect in before[-3:]] == [
        ("started", "index"),
        ("finished", "index"),
        ("started", "rank"),
    ]


def test_no_finished_step_ran_again(outcome: Outcome) -> None:
    finished = [effect.step for effect in outcome.killed.effects if effect.event == "finished"]
    assert sorted(finished) == sorted(set(finished))
    assert set(finished) == {effect.step for effect in outcome.unbroken.effects}
    pids = {effect.pid for effect in outcome.killed.effects}
    assert pids == {outcome.killed_pid, outcome.resumed_pid}
    assert len(pids) == 2


def test_page_and_state_equal_the_uninterrupted_ones(outcome: Outcome, demo_home: Path) -> None:
    surveys = (outcome.killed, outcome.unbroken)
    page, other = ((survey.work / "report.md").read_bytes() for survey in surveys)
    assert page == other
    assert b"**8.md**" in page
    assert b"- 1 not text" in page
    with Repository.open(demo_home, read_only=True) as repo:
        state, other_state = (repo.restore(survey.run) for survey in surveys)
    assert state == other_state
    assert state["report"].encode() == page


def test_a_checkpoint_after_every_step_and_all_restore(outcome: Outcome, demo_home: Path) -> None:
    assert [found.sequence for found in outcome.checkpoints] == list(
        range(1, len(outcome.checkpoints) + 1)
    )
    steps = {effect.step for effect in outcome.killed.effects}
    assert len(outcome.checkpoints) >= len(steps)
    with Repository.open(demo_home, read_only=True) as repo:
        pieces = [len(repo.restore(found).get("pieces", ())) for found in outcome.checkpoints]
    assert pieces == sorted(pieces)
    assert pieces[-1] > 0


def test_the_second_run_costs_next_to_nothing(outcome: Outcome) -> None:
    assert outcome.unbroken_new_bytes < sum(found.new_bytes for found in outcome.checkpoints) / 2


def test_a_claim_that_is_not_so_is_noticed(outcome: Outcome) -> None:
    def broken_checks(
        killed: Survey, *, killed_pid: int = outcome.killed_pid, differences: int = 0
    ) -> list[int]:
        checks = check_demo(
            killed,
            outcome.unbroken,
            killed_pid=killed_pid,
            resumed_pid=outcome.resumed_pid,
            killed_node="rank",
            differences=differences,
        )
        return [place for place, check in enumerate(checks) if not check.holds]

    def with_effects(*effects: Effect) -> Survey:
        return dataclasses.replace(outcome.killed, effects=effects)

    killed, effects = outcome.killed, outcome.killed.effects
    first_read = next(effect for effect in effects if effect.node == "read")
    assert broken_checks(killed) == []
    assert broken_checks(dataclasses.replace(killed, report_digest="0" * 64)) == [3]
    assert broken_checks(killed, differences=1) == [4]
    assert broken_checks(killed, killed_pid=outcome.resumed_pid) == [0, 1, 2]
    rerun = dataclasses.replace(first_read, pid=outcome.resumed_pid)
    assert broken_checks(with_effects(*effects, rerun)) == [1]
    assert 0 in broken_checks(
        with_effects(
            *(
                dataclasses.replace(effect, event="finished")
                if (effect.pid, effect.node) == (outcome.killed_pid, "rank")
                else effect
                for effect in effects
            )
        )
    )
    assert broken_checks(
        with_effects(
            *(
                dataclasses.replace(effect, key="other")
                if effect.pid == outcome.resumed_pid
                else effect
                for effect in effects
            )
        )
    ) == [2]
    assert broken_checks(with_effects()) == [0, 1, 2]


def test_the_printed_commands_work_as_printed(tmp_path: Path) -> None:
    folder = tmp_path / "the valley"
    folder.mkdir()
    home = tmp_path / "demo 'home"
    with Repository.open(home) as repo:
        repo.commit("demo", {})  # the name is taken
    ran = spawn("demo", str(valley(folder)), "--home", str(home))
    assert ran.code == 0, ran.output + ran.errors
    assert ran.output.count("\n  yes  ") == 5
    assert re.search(r"\d+  rank +1  killed\n +\d+  rank +1  finished", ran.output)
    assert max(len(line) for line in ran.output.splitlines() if str(tmp_path) not in line) <= 80

    *_, commands = ran.output.partition("\nLook further\n")
    assert "log demo-2" in commands
    assert "show demo-2@3" in commands
    done = subprocess.run(
        ["sh", "-e", "-c", commands.replace("less ", "cat ")],
        cwd=PROJECT,
        env=environment(HIVE_HOME=None),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "# A survey of the valley" in done.stdout
    assert "node_complete" in done.stdout


def test_a_demo_leaves_nothing_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    ran = spawn(
        "demo",
        str(empty),
        "--no-keep",
        "--json",
        env=environment(TMPDIR=str(temporary)),
    )
    shown = ran.json
    assert all(check["holds"] for check in shown["checks"])
    assert shown["processes"]["killed"] != shown["processes"]["resumed"]
    assert {effect["event"] for effect in shown["effects"]} == {"started", "finished"}
    assert Path(shown["home"]).parent == temporary
    assert list(temporary.iterdir()) == []


def test_what_is_no_folder_is_a_usage_error(tmp_path: Path) -> None:
    ran = hive("demo", str(tmp_path / "gone"))
    assert ran.code == 2
    assert ran.errors.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; sys.exit('no\\nhoney')", "status 1 before it could be killed: honey"),
        ("pass", "status 0 before it could be killed: it printed nothing"),
    ],
    ids=["fails", "ends"],
)
def test_a_process_that_ends_too_early_is_told(tmp_path: Path, program: str, message: str) -> None:
    with pytest.raises(DemoError, match=message):
        run_demo(
            tmp_path,
            tmp_path / "home",
            hive=[sys.executable, "-c", program],
            environment={},
            limits=Limits(),
            tell=lambda text: None,
        )


def test_a_torn_last_line_of_the_log_waits(tmp_path: Path) -> None:
    log = tmp_path / LOG_NAME
    assert read_effects(log) == []
    effect = Effect(event="started", node="n", visit=1, attempt=1, key="k", pid=7)
    append_effect(log, effect)
    with log.open("ab") as file:
        file.write(b'{"event": "fin')
    assert read_effects(log) == [effect]
    assert log.stat().st_mode & 0o777 == 0o600
