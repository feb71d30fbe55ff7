from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cas.errors import InvalidInputError
from hive.graph import Goal, GraphSpec
from hive.runner.loading import load_agent
from tests.hive.command_line import fresh_imports


def load_target(target: str, folder: Path) -> tuple[GraphSpec, Goal]:
    agent = load_agent(target, folder)
    assert isinstance(agent.work, GraphSpec)
    return agent.work, agent.purpose


SOURCE = """
from hive.graph import Goal, GraphSpec, NodeSpec

graph = GraphSpec(id="g", goal_id="aim", entry_node="n", nodes=[NodeSpec(id="n")])
goal = Goal(id="aim", name="Aim", description="of the test")
pair = (graph, goal)
number = 7

def make():
    return graph

def make_pair():
    return pair

def broken():
    raise RuntimeError("out of honey")

class Holder:
    inner = graph
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a graph in a file and in a package."""
    (tmp_path / "bees.py").write_text(SOURCE)
    (tmp_path / "apiary").mkdir()
    (tmp_path / "apiary" / "__init__.py").write_text("")
    (tmp_path / "apiary" / "bees.py").write_text(SOURCE)
    with fresh_imports():
        yield tmp_path


@pytest.mark.parametrize(
    "target",
    ["bees:graph", "bees.py:graph", "./bees.py:make", "apiary.bees:make", "bees:Holder.inner"],
)
def test_a_graph_is_found(folder: Path, target: str) -> None:
    graph, goal = load_target(target, folder)
    assert graph.id == "g"
    assert goal.id == "aim"


@pytest.mark.parametrize("target", ["bees:pair", "apiary/bees.py:make_pair"])
def test_a_goal_comes_along(folder: Path, target: str) -> None:
    _, goal = load_target(target, folder)
    assert goal.description == "of the test"


def test_a_file_sees_its_neighbours_and_its_own_name(folder: Path) -> None:
    (folder / "apiary" / "main.py").write_text(
        "import sys\nfrom dataclasses import dataclass\nfrom bees import graph\n"
        "@dataclass\nclass Here:\n    x: int\n"
        "assert sys.modules[Here.__module__].Here is Here\n"
    )
    graph, _ = load_target("apiary/main.py:graph", folder)
    assert graph.id == "g"


def test_a_file_named_like_a_module_does_not_replace_it(folder: Path) -> None:
    import json

    (folder / "json.py").write_text(SOURCE)
    load_target("json.py:graph", folder)
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (":graph", "MODULE:GRAPH"),
        ("bees:", "MODULE:GRAPH"),
        ("wasps:graph", "no module 'wasps'"),
        ("wasps.py:graph", "no file"),
        ("apiary.py:graph", "no file"),
        ("./apiary:graph", "neither the name of a module nor a .py file"),
        ("bees:queen", "no 'queen'"),
        ("bees:number", "is an int, not a GraphSpec"),
        ("bees:broken", "RuntimeError: out of honey"),
        ("apiary.bees:graph.nodes", "is a list, not a GraphSpec"),
    ],
)
def test_what_is_no_graph_says_so(folder: Path, target: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_target(target, folder)


def test_a_module_that_fails_says_how(folder: Path) -> None:
    (folder / "stung.py").write_text("x = 1\nx / 0\n")
    for target in ("stung:graph", "stung.py:graph"):
        with pytest.raises(InvalidInputError, match=r"ZeroDivisionError: .* \(stung.py, line 2\)$"):
            load_target(target, folder)
    assert "stung" not in sys.modules


def test_a_model_that_does_not_fit_is_told_in_plain_words(folder: Path) -> None:
    (folder / "models.py").write_text(
        "from hive.graph import Goal, NodeSpec\n"
        "def make():\n    return Goal(id='g', aim='x')\n"
        "NodeSpec(id='n', max_retries=-1)\n"
    )
    message = r"NodeSpec\.max_retries: must be at least 0, not -1 \(models.py, line 4\)"
    with pytest.raises(InvalidInputError, match=message):
        load_target("models.py:make", folder)
    (folder / "models.py").write_text((folder / "models.py").read_text().split("NodeSpec(")[0])
    message = r"calling 'models.py:make' failed: Goal\.aim: there is no such field$"
    with pytest.raises(InvalidInputError, match=message):
        load_target("models.py:make", folder)


def test_a_missing_import_of_the_module_is_named(folder: Path) -> None:
    (folder / "needs.py").write_text("import wasps\n")
    with pytest.raises(
        InvalidInputError, match="cannot import 'needs': there is no module 'wasps'"
    ):
        load_target("needs:graph", folder)
