"""Where a call of ``execute`` starts: a new run, a session's state, or a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hive import errors
from hive.graph.arguments import run_name
from hive.graph.background import in_thread
from hive.graph.copies import copy_value
from hive.graph.discretion import Discretion, news_in
from hive.graph.fingerprint import canonical_text, changes_of, shortened
from hive.graph.found import ResumePoint, point_of, unused_name
from hive.graph.memory import SharedMemory
from hive.graph.progress import BranchProgress, Progress
from hive.graph.records import names_to_change, reading, renamed_record
from hive.graph.runtime import Decision

if TYPE_CHECKING:
    from hive.graph.checkpoint_manager import CheckpointManager
    from hive.graph.goal import Goal
    from hive.graph.spec import GraphSpec
    from manifests import Checkpoint
    from manifests.kinds import Kind

__all__ = ["Start", "StartRequest"]


@dataclass(slots=True)
class Start:
    """The beginning of one execution.

    Attributes:
        run: Name of the run.
        memory: Its memory.
        progress: Where it stands. ``running`` unless there is nothing left to do.
        decisions: What it decided before.
        tip: The run's head, which the next checkpoint goes on top of; None if the run is new.
        unsaved: The kind of checkpoint to save first, where memory or progress hold something
            that no checkpoint of the run has.
        waiting: The branches that new input is for, besides the run itself.
    """

    run: str
    memory: SharedMemory
    progress: Progress
    decisions: list[Decision] = field(default_factory=list)
    tip: Checkpoint | None = None
    unsaved: Kind | None = None
    waiting: list[BranchProgress] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What a caller of ``execute`` asked for."""

    graph: GraphSpec
    goal: Goal
    input_data: dict[str, Any]
    run: str | None
    accept_changed_graph: bool
    renamed_nodes: Mapping[str, str] = field(default_factory=dict)

    async def new_run(self, manager: CheckpointManager | None) -> Start:
        """Begin a run at the graph's entry node.

        Raises:
            ConflictError: The store has a run of that name.
        """
        run = await unused_name(manager, self.run, self.graph.id)
        given = copy_value(self.input_data, "input_data")
        progress = Progress(next_node=self.graph.entry_node, input_data=given, inputs=[given])
        return Start(run, SharedMemory(given), progress, unsaved="input")

    async def from_session(
        self, session: Mapping[str, Any], manager: CheckpointManager | None
    ) -> Start:
        """Continue what an earlier result's ``session_state`` holds; the input is added to it.

        Raises:
            InvalidInputError: The state is malformed, or names a node that does not exist.
            ConflictError: Graph or goal changed, or the store has the run in another state.
        """
        memory = session.get("memory", {})
        if not isinstance(memory, Mapping):
            raise errors.InvalidInputError("session_state['memory'] is not a mapping")
        record = session.get("progress")
        run = run_name(self.run if self.run is not None else session.get("run_id"), self.graph.id)
        if record is None:
            node = self._session_entry(session)
            start = Start(run, SharedMemory(memory), Progress(next_node=node, input_data={}))
        else:
            if not isinstance(record, Mapping):
                raise errors.InvalidInputError("session_state['progress'] is not a mapping")
            start = self._from_record(run, memory, record)
        self._add_input(start, self.input_data)
        start.unsaved = "input"
        if manager is not None:
            start.tip = await in_thread(partial(manager.latest, run))
            if start.tip is not None and str(start.tip.id) != session.get("checkpoint_id"):
                raise errors.ConflictError(
                    f"run {run!r} is not where this session_state left it: continue it with "
                    "resume=True, or give the session another run name",
                    run=run,
                )
        return start

    async def from_checkpoint(self, manager: CheckpointManager, ref: str | None) -> Start:
        """Continue a run at its head, or from an earlier checkpoint as a fork.

        Args:
            manager: Holds the run.
            ref: The checkpoint; the head of the requested run if None.

        Raises:
            InvalidInputError: No run was named, or it cannot take new input where it stands.
            NotFoundError: There is no such checkpoint.
            ConflictError: Graph or goal changed, or the run's head is not the executor's.
        """
        point, is_own = await point_of(manager, self.run, ref)
        if point is None:
            return await self.new_run(manager)
        if is_own:
            return self._at_head(point)
        checkpoint = point.checkpoint
        # Everything is checked before the fork exists, so that a refusal leaves nothing behind.
        start = self._from_point(checkpoint.run, point)
        if start.progress.status == "completed" and self.input_data:
            raise errors.InvalidInputError(
                f"{checkpoint.run}@{checkpoint.sequence} is where the run was over: continue it "
                "from an earlier checkpoint to give it other input"
            )
        self._add_input(start, self.input_data)
        start.tip = await in_thread(partial(manager.fork, checkpoint, self.run))
        start.run = start.tip.run
        if start.progress.section is not None:  # what its branches have done is the other run's
            start.unsaved = start.unsaved or "resumed"
        return start

    def _at_head(self, point: ResumePoint) -> Start:
        point.refuse_foreign_head("a graph executor")
        start = self._from_point(point.checkpoint.run, point)
        news = news_in(self.input_data, start.progress.inputs, point.discretion)
        status = Progress.from_record(point.execution).status
        if status == "paused":
            self._add_input(start, self.input_data)
        elif status == "failed":
            self._add_input(start, news.fields)
        elif not news.is_known:
            # The usual caller passes the same input at every start of its process. Other input
            # would have to be mixed into work that is under way, or be ignored.
            raise errors.InvalidInputError(
                f"run {start.run!r} is {'over' if status == 'completed' else 'under way'} and "
                "takes no new input: resume it with the input it was started with or with none, "
                "or start another run"
            )
        return start

    def _from_point(self, run: str, point: ResumePoint) -> Start:
        start = self._from_record(run, point.state, point.execution, point.discretion)
        start.tip = point.checkpoint
        if not point.is_current and start.progress.section is not None:
            # What branches do from here on is not of the version of the checkpoint they began at.
            start.unsaved = start.unsaved or "resumed"
        return start

    def _from_record(
        self,
        run: str,
        memory: Mapping[str, Any],
        record: Mapping[str, Any],
        discretion: Discretion | None = None,
    ) -> Start:
        with reading(run):
            return self._read(run, memory, record, discretion)

    def _read(
        self,
        run: str,
        memory: Mapping[str, Any],
        record: Mapping[str, Any],
        discretion: Discretion | None,
    ) -> Start:
        record = copy_value(dict(record), "execution")
        progress = Progress.from_record(record)
        names = names_to_change(record, self.renamed_nodes)
        if names:
            record = renamed_record(record, names)
            progress = Progress.from_record(record)
        changed = self._changes(record, discretion)
        if changed and not self.accept_changed_graph:
            raise errors.ConflictError(
                f"run {run!r} was made with another graph or goal ({'; '.join(changed)}); resume "
                "it with the old one, name renamed nodes with renamed_nodes={old: new}, or pass "
                "accept_changed_graph=True (`hive resume --accept-changes`)",
                run=run,
            )
        waiting = progress.go_on()
        self._check_place(progress)
        decisions = [Decision.from_record(item) for item in record.get("decisions", ())]
        start = Start(run, SharedMemory(memory), progress, decisions, waiting=waiting)
        if (changed or names) and progress.status == "running":
            start.unsaved = "resumed"  # the checkpoints from here on are of the new graph
        return start

    def _changes(self, record: Mapping[str, Any], discretion: Discretion | None) -> list[str]:
        """Say what differs in graph and goal from those of a record."""
        texts = {"graph": canonical_text(self.graph), "goal": canonical_text(self.goal)}
        stored = None if discretion is None else discretion.text
        return shortened(changes_of(record, texts, stored))

    def _check_place(self, progress: Progress) -> None:
        """Refuse to go on at a node that the graph does not have."""
        finished = None if progress.finished is None else progress.finished.node
        source = None if progress.section is None else progress.section.source
        for node in (progress.next_node, finished, source):
            if node is not None and self.graph.get_node(node) is None:
                raise errors.InvalidInputError(
                    f"the run goes on at node {node!r}, which the graph does not have"
                )
        if source is not None and self.graph.get_parallel(source) is None:
            raise errors.InvalidInputError(
                f"the run is in branches that began after node {source!r}, and the graph declares "
                "no parallel there"
            )
        known = progress.next_node or finished or source or progress.path
        if progress.status == "running" and not known:
            raise errors.InvalidInputError("the session names no node to go on with")
        for branch in () if progress.section is None else progress.section.branches.values():
            self._check_place(branch.progress)

    def _add_input(self, start: Start, new: dict[str, Any]) -> None:
        """Put new input into memory and into the next node's input."""
        if not new:
            return
        given = copy_value(new, "input_data")
        for key, value in given.items():
            start.memory.write(key, value)
        start.progress.input_data = {**start.progress.input_data, **given}
        for branch in start.waiting:
            branch.written.update(given)
            branch.progress.input_data = {**branch.progress.input_data, **given}
        start.progress.inputs.append(given)
        start.unsaved = "input"

    def _session_entry(self, session: Mapping[str, Any]) -> str:
        """Find the node that a session without progress names: an entry point or a node."""
        name = session.get("resume_from")
        if name is None:
            return self.graph.entry_node
        node = self.graph.get_entry_point(name) or name
        if self.graph.get_node(node) is None:
            raise errors.InvalidInputError(
                f"session_state['resume_from'] is {name!r}, which is neither an entry point nor a "
                "node of the graph"
            )
        return node
