"""Every command that a hint prints does what it says when it is pasted into a shell."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cas.errors import UnsupportedFormatError
from hive.commands import command_line, free_name, reference
from hive.ui.links import Commands
from manifests import Checkpoint, Repository
from tests.hive.command_line import Ran, fresh_imports, hive
from tests.hive.ui.sites import HOSTILE, pages_of

NAMES = (
    *HOSTILE,
    "-",
    "--",
    "--help",
    "-h=1",
    "a~1",
    "tag:x@1",
    "`date`",
    "0123456789abcdef",
    "!!",
)

PROGRAM = """
from hive.graph import EdgeSpec, GraphSpec, NodeSpec

graph = GraphSpec(
    id="asks",
    entry_node="ask",
    terminal_nodes=["say"],
    pause_nodes=["ask"],
    nodes=[
        NodeSpec(id="ask", input_keys=[], output_keys=["asked"], function=lambda: True),
        NodeSpec(id="say", input_keys=["word"], output_keys=["said"], function=lambda word: word),
    ],
    edges=[EdgeSpec(id="next", source="ask", target="say")],
)
"""


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The program of a run that asks once."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "asks.py"
    file.write_text(PROGRAM)
    with fresh_imports():
        yield file


def words_of(command: str) -> Sequence[str]:
    """What a shell makes of a command, without the name of the program."""
    assert command.isprintable()
    script = f"hive() {{ printf '%s\\0' \"$@\"; }}; {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def pasted(command: str, answer: str = '{"word": "honey"}') -> Ran:
    """Run a command as a shell would; what a person fills in is filled in."""
    words = [answer if word == "{...}" else word for word in words_of(command)]
    return hive(*words)


def told(text: str, verb: str, behind: str) -> str:
    """The one command of a verb in a text, before some words."""
    (found,) = re.findall(rf"`(hive {verb}.*)`{re.escape(behind)}", text)
    return str(found)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_hints_of_commands_work_as_they_are(name: str, home: Path) -> None:
    other = home.parent / "it's another home"
    for place in ((), ("--home", str(other))):
        ran = hive("run", "asks.py", *place, f"--run={name}")
        assert ran.code == 0, ran.errors
        again = hive("run", "asks.py", *place, f"--run={name}")
        assert again.code == 4
        resume = told(again.errors, "resume", " continues it, ")
        assert words_of(resume)[0] == "resume"
        shown = hive(*place, "--json").json
        for step in shown["next"]:
            ran_step = pasted(step["command"]) if "resume" not in step["command"] else None
            assert ran_step is None or ran_step.code == 0, (step, ran_step.errors)
        resumes = [step["command"] for step in shown["next"] if "hive resume" in step["command"]]
        assert len(resumes) == 1
        marked = hive("abandon", *place, "--", name)
        back = pasted(told(marked.output, "abandon", " takes that back"))
        assert back.code == 0
        resume = told(back.output, "resume", " continues it")
        assert {resume} == {told(ran.errors, "resume", " continues"), *resumes}
        done = pasted(resume)
        assert (done.code, "honey" in done.output) == (0, True), done.errors
        gone = hive("rm", *place, "--", name)
        assert pasted(told(gone.output, "gc", " frees the space")).code == 0


class Copied(HTMLParser):
    """Collects the commands that a page offers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [text or "" for name, text in attrs if name == "data-copy"]


def test_commands_of_pages_work_as_they_are(home: Path) -> None:
    """Names that read like references, beside what these would name."""
    with Repository.open(home) as repo:
        for name in NAMES:
            for number in range(3):
                repo.commit(name, {"mine": name, "n": number}, node="n")
        for name in ("run", "a"):
            for number in range(3):
                repo.commit(name, {"other": name, "n": number})
        repo.commit("run@3@2", {"other": True})
        repo.fork("run@1", "run-fork")
        repo.tag("x@1", "run@1")
    with Repository.open(home, read_only=True) as repo:
        pages = pages_of(repo, commands=Commands(str(home), repo))
        commands = {}
        for name in NAMES:
            page = pages.get("/step", run=name, at=2)
            page += pages.get("/diff", run=name, at=2, from_=1)
            commands[name] = Copied(page).found
            expected = repo.restore((name, 2))
            shown = pasted(commands[name][1].replace("hive show", "hive show --json", 1))
            assert shown.json["state"] == expected, (name, shown.errors)
    for name, each in commands.items():
        verbs = [command.split()[1] for command in each]
        assert verbs == ["fork", "show", "diff"]
        fork, show, diff = each
        for command in (show, diff, fork, show):
            ran = pasted(command)
            assert ran.code == 0, (name, command, ran.errors)


def test_a_reference_that_means_something_else_is_not_printed(home: Path) -> None:
    with Repository.open(home) as repo:
        mine = repo.commit("run", {"n": 1})
        assert reference(repo, mine) == "run@1"
        repo.commit("run@1", {"n": 2})
        assert reference(repo, mine) == str(mine.id)
        assert free_name(repo, "run") == "run-fork"
        repo.fork(mine, "run-fork")
        assert free_name(repo, "run") == "run-fork-2"
        assert len(free_name(repo, "é" * 512).encode()) <= 1_024


def test_a_name_that_a_later_version_took_is_not_free(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page of every step of the run that a fork was named after failed."""
    with Repository.open(home) as repo:
        repo.commit("run", {})
        read = Repository.log

        def later(self: Repository, run: str, *, limit: int | None = None) -> list[Checkpoint]:
            if run == "run-fork":
                raise UnsupportedFormatError("written by a later version")
            return read(self, run, limit=limit)

        monkeypatch.setattr(Repository, "log", later)
        assert free_name(repo, "run") == "run-fork-2"


def test_a_run_that_reads_like_a_tag_has_checkpoints_with_numbers(home: Path) -> None:
    with Repository.open(home) as repo:
        repo.commit("tag:x", {"n": 1})
        repo.commit("tag:x", {"n": 2})
        assert repo.restore("tag:x@1") == {"n": 1}
        repo.tag("y@1", "tag:x@2")
        assert repo.restore("tag:y@1") == {"n": 2}


def test_a_command_names_options_before_a_name_with_a_dash() -> None:
    assert command_line("resume", "a", options=["--approve"]) == "hive resume a --approve"
    line = command_line("resume", "-a", options=["--approve"], home="/x y")
    assert line == "hive resume --home '/x y' --approve -- -a"
