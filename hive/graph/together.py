"""Where a walk forks: its branches begin, go on at the same time, and meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hive import errors
from hive.graph.branches import all_of
from hive.graph.merging import merge
from hive.graph.progress import BranchProgress, Progress, Section
from hive.graph.records import branch_path
from hive.graph.totals import Totals, totals_of

if TYPE_CHECKING:
    from hive.graph.parallel import ParallelSpec
    from hive.graph.routing import Choice
    from hive.graph.walk import Walk
    from manifests.kinds import Kind

__all__ = ["fork", "go_on_together"]


async def fork(walk: Walk, kind: Kind, node: str, choices: Mapping[str, Choice]) -> None:
    """Begin a branch along each of the chosen edges, by their ids; record that as ``kind``."""
    progress = walk.progress
    join = _parallel(walk, node).join
    if any(begun.rpartition("#")[0] == progress.first_id(node) for begun in walk.branch[::2]):
        await walk.fail(
            node, f"a branch that began after node {node!r} came back to it before {join!r}"
        )
        return
    progress.section = Section(
        source=node,
        visit=walk.visits()[node],
        branches={edge: _begun(progress, choice, join) for edge, choice in choices.items()},
    )
    progress.next_node = None
    progress.input_data = {}
    progress.finished = None
    await walk.recorder.save(kind, node, progress, walk.memory)


def _begun(progress: Progress, choice: Choice, join: str) -> BranchProgress:
    ended = choice.target == join
    own = Progress(
        next_node=None if ended else choice.target,
        input_data={} if ended else choice.input_data,
        status="completed" if ended else "running",
        renamed=progress.renamed,
    )
    return BranchProgress(progress=own, given=choice.mapped)


async def go_on_together(walk: Walk, section: Section) -> None:
    """Make the branches go on until all have ended, and the walk continue where they meet."""
    spec = _parallel(walk, section.source)
    branches = {edge: _branch(walk, section, edge, spec.join) for edge in section.branches}

    async def go_on(branch: Walk) -> bool:
        await branch.drive()
        return branch.progress.status != "failed"

    await all_of(
        [partial(go_on, branch) for branch in branches.values()],
        max_concurrency=spec.max_concurrency,
        stop_early=spec.on_failure == "cancel",
    )
    stands = {edge: branch.progress for edge, branch in branches.items()}
    failed = {edge: str(own.error) for edge, own in stands.items() if own.status == "failed"}
    paused = [own.paused_at for own in stands.values() if own.status == "paused"]
    if failed and spec.on_failure != "continue":
        reasons = "; ".join(f"branch {edge!r}: {error}" for edge, error in failed.items())
        await walk.fail(section.source, reasons)
    elif paused:
        walk.progress.status = "paused"
        walk.progress.paused_at = paused[0]
        await walk.recorder.save("paused", paused[0], walk.progress, walk.memory)
    else:
        await _meet(walk, section, branches, failed)


def _branch(walk: Walk, section: Section, edge: str, join: str) -> Walk:
    """Return the walk of one branch, from where it stands."""
    own = section.branches[edge]
    given = walk.memory.staged()
    given.adopt(own.given)
    memory = given.staged()
    memory.adopt(own.written)
    runtime = walk.runtime.branch(walk.setting.run, f"{edge}#{section.visit}", own.decisions)
    source = walk.progress.first_id(section.source)
    path = branch_path(walk.branch, source, section.visit, edge)
    return replace(
        walk,
        memory=memory,
        progress=own.progress,
        runtime=runtime,
        recorder=walk.recorder.branch(path, own, runtime),
        until=join,
        branch=path,
        before=Totals(steps=walk.steps(), visits=dict(walk.visits())),
    )


async def _meet(
    walk: Walk, section: Section, branches: Mapping[str, Walk], failed: Mapping[str, str]
) -> None:
    """Merge what the branches did, and go on at the node where they meet."""
    progress, run, spec = walk.progress, walk.setting.run, _parallel(walk, section.source)
    walk.recorder.is_whole = False
    written = {
        edge: branch.memory.written() for edge, branch in branches.items() if edge not in failed
    }
    try:
        merged = merge(walk.memory.lend(), written, spec.merge)
    except errors.InvalidInputError as error:
        await walk.fail(section.source, f"after node {section.source!r}: {error}")
        return
    if failed and spec.errors_key is not None:
        merged[spec.errors_key] = dict(failed)
    totals = Totals()
    totals.add(progress)
    for branch in branches.values():
        totals.add(totals_of(branch.progress))
        walk.runtime.record(run).decisions.extend(branch.runtime.record(run).decisions)
    totals.store(progress)
    walk.memory.adopt(merged)
    progress.section = None
    if spec.join == walk.until:  # the branch that forked ends at the same node as its branches
        await walk.end("final", section.source)
        return
    progress.next_node = spec.join
    progress.input_data = merged
    await walk.recorder.save("branches_complete", section.source, progress, walk.memory)


def _parallel(walk: Walk, source: str) -> ParallelSpec:
    spec = walk.setting.graph.get_parallel(source)
    if spec is None:
        raise errors.InvalidInputError(
            f"the run is in branches that began after node {source!r}, and the graph declares no "
            "parallel there"
        )
    return spec
