"""``hive run`` and ``hive resume`` with plans, ``hive runs --waiting`` and ``hive abandon``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hive.command_line import fresh_imports, hive, start
from tests.hive.test_cli_run import SOURCE, wait_for

BEES = """
def note(text):
    with open("ran.txt", "a") as file:
        file.write(text + "\\n")

def gather(flowers=1):
    note("gather")
    return flowers * 2

def sell(nectar, price=1):
    note("sell")
    return nectar * price
"""
AGENT = """
plan:
  id: market
  revision: 1
  steps:
    - {id: nectar, action: gather, expected_outputs: [nectar]}
    - id: first
      action: sell
      inputs: {nectar: $nectar}
      dependencies: [nectar]
      requires_approval: true
      approval_message: Sell it?
    - {id: second, action: sell, inputs: {price: 3}, dependencies: [nectar], requires_approval: yes}
functions: {gather: "market:gather", sell: "market:sell"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an agent and the module that it names, which is the current one."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "market.py").write_text(BEES)
    (work / "agent.yaml").write_text(AGENT)
    monkeypatch.chdir(work)
    with fresh_imports():
        yield work


def ran(folder: Path) -> list[str]:
    return (folder / "ran.txt").read_text().split()


def test_a_plan_waits_for_approvals_and_takes_them(folder: Path) -> None:
    paused = hive("run", ".", "--input", '{"flowers": 5}', "--run", "x", "--json")
    assert paused.code == 0
    assert paused.json["status"] == "paused"
    assert paused.json["waits"] == [
        {"kind": "approval", "step": "first", "message": "Sell it?"},
        {"kind": "approval", "step": "second", "message": None},
    ]
    assert "`hive resume x --approve --step first` continues" in paused.errors
    assert ran(folder) == ["gather"]

    shown = hive("runs", "--waiting")
    assert "Sell it?" in shown.output
    assert "hive resume x --approve" in hive().output
    assert [row["run"] for row in hive("runs", "--waiting", "--json").json] == ["x"]

    several = hive("resume", "x", "--approve")
    assert several.code == 2
    assert "--step" in several.errors
    rest = hive("resume", "x", "--approve", "--step", "first", "--json").json
    assert rest["output"]["first"] == 10
    assert [wait["step"] for wait in rest["waits"]] == ["second"]
    done = hive("resume", "x", "--input", '{"price": 7}', "--json").json
    assert done["status"] == "done"
    assert done["output"]["second"] == 70
    assert ran(folder) == ["gather", "sell", "sell"]
    assert hive("runs", "--waiting").output == "No run waits for anything.\n"


def test_a_rejected_step_ends_the_run(folder: Path) -> None:
    hive("run", "agent.yaml", "--run", "x")
    refused = hive("resume", "x", "--reject", "--step", "first", "--reason", "too cheap", "--json")
    assert refused.json["status"] == "paused"
    ended = hive("resume", "x", "--approve", "--json")
    assert ended.code == 1
    assert ended.json["status"] == "failed"
    assert ended.json["error"] == "rejected: 'first'"
    assert ended.json["output"]["second"] == 6
    again = hive("resume", "x")
    assert again.code == 1
    assert "start another run" in again.errors, "resuming does not change what a person decided"
    assert "when that is mended" not in again.errors
    assert "error       rejected: 'first'\n" in hive("show", "x").output, "as `hive` says it does"


def test_what_stops_at_once_has_no_path(folder: Path) -> None:
    (folder / "ask.json").write_text(
        '{"plan": {"id": "ask", "steps": [{"id": "s", "action": "f", "requires_approval": true}]}, '
        '"functions": {"f": "market:gather"}}'
    )
    assert hive("run", "ask.json").output == "run ask-1: paused after 0 steps\n"


def test_a_run_that_is_not_there_is_not_resumed(folder: Path) -> None:
    """Only a run resumes, so the ways to name a checkpoint were no help."""
    hive("run", "agent.yaml", "--run", "x")
    ran = hive("resume", "y")
    assert (ran.code, ran.errors) == (
        3,
        "hive: error (not-found): there is no run 'y'; `hive runs` lists them\n",
    )
    ran = hive("forget", "x")
    assert ran.code == 4
    assert "delete it (hive rm)" in ran.errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--approve", "--reject"], "give one"),
        (["--approve", "--input", "{}"], "give one"),
        (["--step", "first"], "go with"),
        (["--reason", "because"], "go with"),
        (["--approve", "--step", "third"], "'third' does not wait; these do: 'first', 'second'"),
        (["--input", "{}"], "several steps wait"),
        (["--input", "{}", "--step", "first"], "'modify' comes with inputs"),
    ],
)
def test_answers_that_do_not_fit_are_usage_errors(
    folder: Path, options: list[str], message: str
) -> None:
    hive("run", "agent.yaml", "--run", "x")
    refused = hive("resume", "x", *options)
    assert refused.code == 2
    assert message in refused.errors
    assert ran(folder) == ["gather"]
    assert hive("runs", "--json").json[0]["status"] == "paused"


def test_a_graph_that_waits_for_input_takes_no_approval(folder: Path) -> None:
    (folder / "bees.py").write_text(SOURCE)
    hive("run", "bees.py:pausing", "--run", "x")
    assert hive("runs", "--waiting", "--json").json[0]["waits"] == [
        {"kind": "input", "step": "dance", "message": None}
    ]
    refused = hive("resume", "x", "--approve")
    assert refused.code == 2
    assert "give --input" in refused.errors


def test_an_edited_plan_needs_a_higher_revision(folder: Path) -> None:
    hive("run", "agent.yaml", "--run", "x")
    (folder / "agent.yaml").write_text(AGENT.replace("price: 3", "price: 4"))
    refused = hive("resume", "x")
    assert refused.code == 4
    assert "plan.steps.second.inputs.price: another value" in refused.errors


def test_a_plan_that_lacks_input_is_given_it(folder: Path) -> None:
    text = "{plan: {id: p, steps: [{id: a, action: f, inputs: {flowers: $flowers}}]}"
    (folder / "agent.yaml").write_text(f"{text}, functions: {{f: 'market:gather'}}}}")
    lacking = hive("run", "agent.yaml", "--run", "x")
    assert lacking.code == 1
    assert "after 1 attempt: the input '$flowers' leads nowhere" in lacking.errors
    assert "`hive resume x` goes on from there, with more input if --input" in lacking.errors
    assert hive("resume", "x", "--input", '{"flowers": 2}', "--json").json["output"]["a"] == 4


def test_a_killed_plan_is_interrupted_and_resumes(folder: Path) -> None:
    (folder / "market.py").write_text(
        BEES + "import pathlib, time\n_sell = sell\n"
        "def sell(nectar, price=1):\n"
        "    pathlib.Path('selling').touch()\n"
        "    while pathlib.Path('hold').exists(): time.sleep(0.005)\n"
        "    return _sell(nectar, price)\n"
    )
    (folder / "agent.yaml").write_text(AGENT.replace("requires_approval: true", ""))
    (folder / "hold").touch()
    with start("run", "agent.yaml", "--run", "x") as process:
        wait_for(folder / "selling", process)
        process.send_signal(signal.SIGKILL)
    (folder / "hold").unlink()
    assert hive("runs", "--json").json[0]["status"] == "interrupted"
    assert hive("resume", "x", "--json").json["status"] == "paused"
    assert ran(folder) == ["gather", "sell"]


def test_an_abandoned_run_waits_no_more_and_can_be_taken_up_again(folder: Path) -> None:
    hive("run", "agent.yaml", "--run", "x")
    abandoned = hive("abandon", "x")
    assert abandoned.code == 0
    assert "`hive abandon x --undo` takes that back" in abandoned.output
    assert hive("runs", "--json").json[0]["status"] == "abandoned"
    assert hive("runs", "--waiting", "--json").json == []
    assert hive("abandon", "x").code == 0, "twice is once"
    assert len(hive("log", "x", "--json").json) == 4

    undone = hive("abandon", "x", "--undo", "--json")
    assert undone.json["status"] == "paused"
    assert hive("abandon", "x", "--undo").code == 4
    hive("abandon", "x")
    resumed = hive("resume", "x", "--approve", "--step", "first", "--step", "second", "--json")
    assert resumed.json["status"] == "done"
    refused = hive("abandon", "x")
    assert refused.code == 4
    assert "is completed" in refused.errors
    assert hive("abandon", "nobody").code == 3
