"""The command line looks at threads as at any run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from langchain_core.messages import HumanMessage

from hive.adapters.langgraph import HiveSaver
from tests.hive.command_line import environment, hive
from tests.hive.langgraph.graphs import chat_graph, config_of


def test_log_show_diff_and_gc_work_on_threads(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    with HiveSaver(home) as saver:
        for text in ("one", "two"):
            message = HumanMessage(text, id=text)
            chat_graph(saver).invoke({"messages": [message]}, config_of("alice"))
        newest = saver.repository.head_key("alice")
    listed = hive("log", "alice", "--home", home, "--json").json
    assert len(listed) == 10
    assert "messages" in hive("show", "alice", "--home", home).output
    assert "messages[7]" in hive("diff", "alice~2", "alice", "--home", home).output
    assert hive("gc", "--keep-last", "2", "--home", home).code == 0
    with HiveSaver(home) as saver:
        assert saver.repository.resolve(("alice", newest or "")).sequence == 10
        assert len(list(saver.list(config_of("alice")))) == 2
        assert len(chat_graph(saver).get_state(config_of("alice")).values["messages"]) == 8


def test_without_langgraph_an_import_says_what_to_install() -> None:
    program = (
        "import sys\nsys.modules['langchain_core'] = None\n"
        "try:\n    import hive.adapters.langgraph\n"
        "except ModuleNotFoundError as error:\n    print(error.name, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("langchain_core")
    assert done.stdout.endswith("): pip install 'hive-checkpoints[langgraph]'\n")
