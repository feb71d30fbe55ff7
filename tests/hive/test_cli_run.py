from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cas.environment import Environment
from cas.errors import StoreFullError
from manifests import Repository
from tests.hive.command_line import environment, fresh_imports, hive, spawn, start

SOURCE = """
import os, time
from pathlib import Path
from hive.graph import EdgeSpec, Goal, GraphSpec, NodeSpec

def note(text):
    with open("ran.txt", "a") as file:
        file.write(text + "\\n")

def gather(flowers=1):
    note("gather")
    return {"nectar": flowers * 2}

def dance(nectar):
    note("dance")
    Path("dancing").touch()
    deadline = time.monotonic() + 30
    while Path("hold").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    return {"honey": nectar + 1}

def rest(honey):
    note("rest")
    if Path("fail").exists():
        raise RuntimeError("the queen is ill \\x1b[2J")
    return {"done": True}

def make(**more):
    return GraphSpec(
        id="bees", entry_node="gather", terminal_nodes=["rest"],
        nodes=[
            NodeSpec(id="gather", function=gather),
            NodeSpec(id="dance", function=dance),
            NodeSpec(id="rest", function=rest, max_retries=0),
        ],
        edges=[
            EdgeSpec(id="1", source="gather", target="dance"),
            EdgeSpec(id="2", source="dance", target="rest"),
        ],
        **more,
    )

graph = make()
pausing = lambda: (make(pause_nodes=["dance"]), Goal(id="goal"))
dancing = GraphSpec(
    id="dancing", entry_node="dance", nodes=[NodeSpec(id="dance", function=lambda: dance(1))]
)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a graph in ``bees.py``, which is the current one."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "bees.py").write_text(SOURCE)
    monkeypatch.chdir(work)
    with fresh_imports():
        yield work


def ran(folder: Path) -> list[str]:
    return (folder / "ran.txt").read_text().split()


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_run_prints_its_path_and_output(folder: Path) -> None:
    run = hive("run", "bees.py:graph", "--input", '{"flowers": 20}')
    assert run.code == 0, run.errors
    assert "run bees-1: done after 3 steps" in run.output
    assert "path: gather, dance, rest" in run.output
    assert "honey" in run.output
    assert "41" in run.output
    assert hive("show", "bees-1", "honey").output == "41\n"


def test_a_run_as_json(folder: Path) -> None:
    shown = hive("run", "bees:graph", "--input", '{"flowers": 20}', "--run", "x", "--json").json
    with Repository.open(Path(os.environ["HIVE_HOME"])) as repo:
        head = repo.resolve("x")
    assert shown == {
        "run": "x",
        "status": "done",
        "steps": 3,
        "path": ["gather", "dance", "rest"],
        "paused_at": None,
        "error": None,
        "checkpoint": str(head.id),
        "output": {"flowers": 20, "nectar": 40, "honey": 41, "done": True},
        "waits": [],
    }
    assert head.kind == "final"


def test_the_input_comes_from_a_file_or_the_standard_input(folder: Path) -> None:
    (folder / "input.json").write_text('{"flowers": 3}')
    assert (
        hive("run", "bees:graph", "--input", "@input.json", "--json").json["output"]["honey"] == 7
    )
    from_stdin = hive("run", "bees:graph", "--input", "-", "--json", given='{"flowers": 4}')
    assert from_stdin.json["output"]["honey"] == 9
    assert from_stdin.json["run"] == "bees-2"


@pytest.mark.parametrize(
    "given",
    ["{", "[1]", "7", "@missing.json", "[" * 100_000, '{"n": ' + "9" * 5_000 + "}"],
    ids=["torn", "list", "number", "no-file", "deep", "huge-number"],
)
def test_input_that_is_no_object_is_a_usage_error(folder: Path, home: Path, given: str) -> None:
    run = hive("run", "bees:graph", "--input", given)
    assert run.code == 2
    assert run.errors.startswith("hive: error (invalid-input): ")
    assert run.errors.count("\n") == 1
    assert not home.exists()


def test_a_target_that_is_no_graph_is_a_usage_error(folder: Path, home: Path) -> None:
    run = hive("run", "wasps:graph")
    assert run.code == 2
    assert "no module 'wasps'" in run.errors
    assert not home.exists()


def test_a_run_that_exists_is_a_conflict(folder: Path) -> None:
    assert hive("run", "bees:graph", "--run", "x").code == 0
    again = hive("run", "bees:graph", "--run", "x")
    assert again.code == 4
    assert "hive resume" in again.errors
    assert len(ran(folder)) == 3


def test_a_name_that_cannot_be_a_run_is_a_usage_error(folder: Path, home: Path) -> None:
    for name in ("", "a\nb", "x" * 1025):
        run = hive("run", "bees:graph", "--run", name)
        assert run.code == 2, name
        assert run.errors.count("\n") == 1
    assert not (folder / "ran.txt").exists()
    assert not home.exists()


def test_a_failed_run_resumes_at_the_node_that_failed(folder: Path) -> None:
    (folder / "fail").touch()
    failed = hive("run", "bees:graph", "--run", "x", "--json")
    assert failed.code == 1
    assert failed.json["status"] == "failed"
    assert "the queen is ill" in failed.json["error"]
    assert "\x1b" not in failed.output + failed.errors
    assert hive("runs", "--json").json[0]["status"] == "failed"

    (folder / "fail").unlink()
    resumed = hive("resume", "x", "--json")
    assert resumed.code == 0
    assert resumed.json["output"]["done"] is True
    assert ran(folder) == ["gather", "dance", "rest", "rest"]


def test_a_paused_run_takes_input(folder: Path) -> None:
    paused = hive("run", "bees:pausing", "--run", "x", "--json")
    assert paused.code == 0
    assert (paused.json["status"], paused.json["paused_at"]) == ("paused", "dance")
    assert "waits after 'dance'" in paused.errors
    assert "hive resume x" in paused.errors
    assert hive("runs", "--json").json[0]["status"] == "paused"

    resumed = hive("resume", "x", "--input", '{"honey": 100}', "--json").json
    assert resumed["status"] == "done"
    assert resumed["output"]["honey"] == 100
    assert ran(folder) == ["gather", "dance", "rest"]


def test_a_finished_run_gives_its_result_again(folder: Path) -> None:
    first = hive("run", "bees:graph", "--run", "x", "--json").json
    again = hive("resume", "x", "--json").json
    assert again == first
    assert len(ran(folder)) == 3


def test_a_run_whose_graph_was_mended_goes_on_when_that_is_accepted(folder: Path) -> None:
    (folder / "steps.py").write_text(
        "def start(): return {}\ndef one(): return {'x': 1}\ndef two(): return {'x': 2}\n"
    )
    names = {"start": "start", "one": "one", "two": "two", "join": "start"}
    hops = [("start", "one"), ("start", "two"), ("one", "join"), ("two", "join")]
    graph: dict[str, Any] = {
        "id": "fork",
        "entry_node": "start",
        "nodes": [{"id": name, "function": f"steps:{what}"} for name, what in names.items()],
        "edges": [{"id": f"{a}-{b}", "source": a, "target": b} for a, b in hops],
        "parallel": [{"source": "start", "join": "join"}],
    }
    file = folder / "fork.json"
    file.write_text(json.dumps({"graph": graph}))
    ran = hive("run", str(file))
    assert (ran.code, "declare how to merge it" in ran.errors) == (1, True)
    graph["parallel"][0]["merge"] = {"x": "collect"}
    file.write_text(json.dumps({"graph": graph}))
    refused = hive("resume", "fork-1")
    assert (refused.code, "hive resume --accept-changes" in refused.errors) == (4, True)
    done = hive("resume", "fork-1", "--accept-changes", "--json")
    assert (done.code, done.json["output"]["x"]) == (0, [1, 2])


def test_resume_goes_where_the_run_was_launched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "fail").touch()
    hive("run", "./bees.py:graph", "--run", "x")
    (folder / "fail").unlink()
    monkeypatch.chdir(tmp_path)
    assert hive("resume", "x").code == 0
    assert ran(folder)[-1] == "rest"

    folder.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    gone = hive("resume", "x")
    assert gone.code == 2
    assert "--target" in gone.errors
    assert hive("resume", "x", "--target", "moved/bees.py:graph").code == 0
    assert hive("resume", "x").code == 0, "the new target was not noted"


def test_a_run_of_another_program_needs_a_target(folder: Path, home: Path) -> None:
    hive("run", "bees:graph", "--run", "x")
    for path in (home / "launches").iterdir():
        path.unlink()
    unknown = hive("resume", "x")
    assert unknown.code == 3
    assert "--target MODULE:GRAPH" in unknown.errors
    assert hive("resume", "x", "--target", "bees:graph").code == 0


def test_only_runs_resume(folder: Path) -> None:
    hive("run", "bees:graph", "--run", "x")
    assert hive("resume", "ants").code == 3
    assert hive("resume", "x@2").code == 2


def test_another_graph_does_not_continue_a_run(folder: Path) -> None:
    (folder / "fail").touch()
    hive("run", "bees:graph", "--run", "x")
    changed = hive("resume", "x", "--target", "bees:pausing")
    assert changed.code == 4
    assert len(ran(folder)) == 3
    (folder / "fail").unlink()
    assert hive("resume", "x").code == 0, "the target that was refused is not the one to load now"


def test_a_refused_target_of_a_run_from_elsewhere_is_not_noted(folder: Path, home: Path) -> None:
    hive("run", "bees:graph", "--run", "x")
    for path in (home / "launches").iterdir():
        path.unlink()
    assert hive("resume", "x", "--target", "bees:pausing").code == 4
    assert "--target MODULE:GRAPH" in hive("resume", "x").errors


def test_a_killed_run_is_interrupted_and_resumes(folder: Path) -> None:
    (folder / "hold").touch()
    with start("run", "bees:graph", "--run", "x", "--input", '{"flowers": 5}') as process:
        wait_for(folder / "dancing", process)
        assert hive("runs", "--json").json[0]["status"] == "running"
        busy = hive("resume", "x")
        assert busy.code == 4
        assert "another process" in busy.errors
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    (folder / "hold").unlink()
    assert hive("runs", "--json").json[0]["status"] == "interrupted"

    resumed = spawn("resume", "x", "--json", cwd=folder.parent)
    assert resumed.json["output"] == {"flowers": 5, "nectar": 10, "honey": 11, "done": True}
    assert resumed.json["path"] == ["gather", "dance", "rest"]
    assert ran(folder) == ["gather", "dance", "dance", "rest"]
    assert hive("runs", "--json").json[0]["status"] == "done"


def test_runs_that_start_at_once_get_names_of_their_own(folder: Path) -> None:
    processes = [start("run", "bees:graph", "--json") for _ in range(4)]
    shown = []
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, b"")
        shown.append(json.loads(output)["run"])
    assert sorted(shown) == ["bees-1", "bees-2", "bees-3", "bees-4"]


def test_a_home_given_relatively_stays_where_it_is(folder: Path, tmp_path: Path) -> None:
    (folder / "fail").touch()
    assert hive("run", "bees:graph", "--run", "x", "--home", "here").code == 1
    (folder / "fail").unlink()
    os.chdir(tmp_path)
    resumed = hive("resume", "x", "--home", "work/here", "--json")
    assert resumed.json["status"] == "done"
    assert not (folder / "work").exists()
    assert list((folder / "here" / "launches").glob("*.json"))


def test_a_name_that_looks_like_a_reference_is_a_name(folder: Path) -> None:
    assert hive("run", "bees:graph", "--run", "x").code == 0
    for name in ("x@2", "x~1", "abcdef", "tag:x"):
        assert hive("run", "bees:graph", "--run", name).code == 0, name
        assert hive("resume", name).code == 0, name


def test_resuming_creates_no_store(folder: Path, home: Path) -> None:
    assert hive("resume", "x").code == 3
    assert not home.exists()


def test_a_full_disk_says_how_to_go_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeating the command, as the error says of a write, would begin another run."""
    write = Environment.write

    def full_behind_gather(self: Environment, work: Any, **options: Any) -> Any:
        if not room or (folder / "dancing").exists():
            raise StoreFullError("no room")
        return write(self, work, **options)

    Repository.open(Path(os.environ["HIVE_HOME"])).close()
    room = False
    hint = "`hive resume bees-1` continues after the last finished step"
    with monkeypatch.context() as patch:
        patch.setattr(Environment, "write", full_behind_gather)
        run = hive("run", "bees.py:graph")
        assert (run.code, "begin it again" in run.errors) == (7, True)
        room = True
        run = hive("run", "bees.py:graph")
        assert (run.code, hint in run.errors) == (7, True)
    assert hive("resume", "bees-1").code == 0
    assert ran(folder) == ["gather", "dance", "dance", "rest"]


def errors_of_ctrl_c(folder: Path, graph: str) -> str:
    """Run a graph, press Ctrl-C while its node dances, and return what it says."""
    (folder / "hold").touch()
    with start("run", f"bees:{graph}", "--run", "my run") as process:
        wait_for(folder / "dancing", process)
        process.send_signal(signal.SIGINT)
        (folder / "hold").unlink()
        assert process.stderr is not None
        errors = process.stderr.read().decode()
    assert process.returncode == 130
    return errors


def test_ctrl_c_says_how_to_go_on(folder: Path) -> None:
    errors = errors_of_ctrl_c(folder, "graph")
    assert "hive resume 'my run'" in errors
    assert "Traceback" not in errors
    assert spawn("resume", "my run", "--json", cwd=folder).json["status"] == "done"


@pytest.mark.parametrize("code", ["0", "5", "None", "'over'"])
def test_a_program_that_exits_does_not_choose_the_exit_code(folder: Path, code: str) -> None:
    """0 would say that the run is done, 5 that the store is damaged."""
    (folder / "exits.py").write_text(
        "import sys\nfrom hive.graph import GraphSpec, NodeSpec\n"
        f"node = NodeSpec(id='go', function=lambda: sys.exit({code}))\n"
        "graph = GraphSpec(id='exits', entry_node='go', terminal_nodes=['go'], nodes=[node])\n"
    )
    ran = spawn("run", "exits.py:graph", "--run", "x", cwd=folder)
    assert (ran.code, ran.output) == (1, "")
    assert "hive resume x" in ran.errors
    assert f"sys.exit({code})" in ran.errors
    (folder / "script.py").write_text(f"raise SystemExit({code})\n")
    ran = spawn("run", "script.py:graph", cwd=folder)
    assert (ran.code, ran.output) == (1, "")
    assert f"sys.exit({code})" in ran.errors


def test_a_store_says_nothing_about_what_to_import(folder: Path, home: Path) -> None:
    """Without a launch record of this user, a store that names a target runs nothing."""
    with Repository.open(home) as repo:
        repo.commit(
            "x",
            {"target": "bees:graph"},
            labels={"target": "bees:graph"},
            execution={"target": "bees:graph", "folder": str(folder)},
        )
    resumed = spawn("resume", "x", cwd=folder, env=environment())
    assert resumed.code == 3
    assert not (folder / "ran.txt").exists()
    assert not (home / "launches").exists()
    assert json.loads(hive("show", "x", "--json").output)["state"] == {"target": "bees:graph"}


@pytest.mark.parametrize(
    ("graph", "told"),
    [
        (
            "dancing",
            "run 'my run' is done all the same; `hive show 'my run'` shows what came of it",
        ),
        ("pausing", "waits after 'dance'; `hive resume 'my run' --input '{...}'` continues"),
    ],
)
def test_ctrl_c_in_a_last_node_says_that_the_run_has_stopped(
    folder: Path, graph: str, told: str
) -> None:
    errors = errors_of_ctrl_c(folder, graph)
    assert errors == f"hive: {told}\nhive: interrupted\n"
