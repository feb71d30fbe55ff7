"""An agent of LangChain on Hive, killed with SIGKILL in the middle of a turn. No network.

python examples/killed_agent.py [HOME]
(needs: pip install 'hive-checkpoints[langgraph]' langchain)

It keeps a list of what is to do, surveys two fields, and may publish only what a person approved.
The process dies while it surveys the second field. Another one goes on from there, without
surveying the first field or asking the model again. Agents of `deepagents` are resumed likewise:
pass `checkpointer=HiveSaver()` to `create_deep_agent`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, TodoListMiddleware
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.types import Command

from hive.adapters.langgraph import HiveSaver

THREAD: Any = {"configurable": {"thread_id": "survey"}}
PLAN: Sequence[tuple[str, dict[str, Any]]] = (
    ("write_todos", {"todos": [{"content": "survey both fields", "status": "in_progress"}]}),
    ("survey", {"field": "north"}),
    ("survey", {"field": "south"}),
    ("publish", {"report": "two fields, nine hives"}),
)


class ScriptedModel(BaseChatModel):
    """Does what a language model would: one step of the plan after the other."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        """Return itself: the script knows the tools."""
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        done = sum(isinstance(message, ToolMessage) for message in messages)
        say(f"the model is asked for step {done + 1}")
        if done == len(PLAN):
            answer = AIMessage(f"Done: {messages[-1].content}")
        else:
            name, arguments = PLAN[done]
            call: Any = {"name": name, "args": arguments, "id": f"call-{done}"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])


@tool
def survey(field: str) -> str:
    """Count the hives of a field."""
    say(f"surveys the {field} field")
    if field in sys.argv[3:]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"north": "4 hives", "south": "5 hives"}[field]


@tool
def publish(report: str) -> str:
    """Publish a report."""
    return f"published {report!r}"


def build(saver: HiveSaver) -> Any:
    """Return the agent."""
    middleware: list[Any] = [
        TodoListMiddleware(),
        HumanInTheLoopMiddleware(interrupt_on={"publish": True}),
    ]
    return create_agent(
        ScriptedModel(), [survey, publish], middleware=middleware, checkpointer=saver
    )


def say(line: str) -> None:
    """Print a line at once, for the process may die."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def work(home: str) -> None:
    """Begin the turn, or go on with it, until the agent asks a person."""
    with HiveSaver(home) as saver:
        agent = build(saver)
        begun = agent.get_state(THREAD).next
        question = None if begun else {"messages": [HumanMessage("How many hives are there?")]}
        # "sync": a step is on the disk before the next one begins.
        paused = agent.invoke(question, THREAD, durability="sync")
        [asked] = paused["__interrupt__"][0].value["action_requests"]
        say(f"it asks: {asked['name']} {asked['args']['report']!r}?")


def session(home: str) -> Iterator[str]:
    """Let a process work until it is killed, and another one go on; yield what happened."""
    command = [sys.executable, os.path.abspath(__file__), home, "work"]
    for dies_in in (["south"], []):
        done = subprocess.run([*command, *dies_in], stdout=subprocess.PIPE, text=True, check=False)
        yield from done.stdout.splitlines()
        yield "-- killed" if done.returncode == -signal.SIGKILL else f"-- ended: {done.returncode}"
    with HiveSaver(home) as saver:
        agent = build(saver)
        done = agent.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
        yield f"approved. {done['messages'][-1].content}"
        yield f"on its list: {done['todos'][0]['content']}"


def main() -> None:
    """Tell what happens, line by line."""
    with tempfile.TemporaryDirectory() as folder:
        home = sys.argv[1] if len(sys.argv) > 1 else folder
        if "work" in sys.argv[2:3]:
            work(home)
            return
        for line in session(home):
            say(line)


if __name__ == "__main__":
    main()
