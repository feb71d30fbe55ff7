"""Threads with several delta channels: pruned, cut and read back as if nothing had happened."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from hive.adapters.langgraph import HiveSaver
from hive.cli.forget import plan_json
from hive.errors import ConflictError, NotFoundError
from hive.graph.checkpoint_manager import CheckpointManager
from hive.schemas.checkpoint import CheckpointConfig
from hive.threads import rebuilt_names
from manifests import Repository, RetentionPolicy, hiding
from manifests.catalogue import Catalogue
from manifests.needs import Needs, read_needs
from manifests.rows import CheckpointRow, checkpoint_key
from tests.damage import Vandal
from tests.hive.command_line import hive
from tests.hive.langgraph.graphs import config_of

THREAD = "t"
NAMES = ("one", "two", "three")


class Twin(HiveSaver):
    """Saves everything in memory too, under the same ids; nothing is ever dropped there."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.memory = InMemorySaver()

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        # LangGraph goes on meanwhile, and adds to the very sets of those that came to a join.
        held = checkpoint["channel_values"].items()
        values = {name: {*value} if isinstance(value, set) else value for name, value in held}
        checkpoint = {**checkpoint, "channel_values": values}
        self.memory.put(config, checkpoint, metadata, new_versions)
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        self.memory.put_writes(config, writes, task_id, task_path)
        super().put_writes(config, writes, task_id, task_path)

    def get_next_version(self, current: Any, channel: Any) -> Any:
        """Two branches never give one version to two values, which the twin keeps by these."""
        return self.memory.get_next_version(current, channel)


def appended(state: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


class Script:
    """A graph drawn from a seed, with up to three delta channels, and what is done with it."""

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.names = NAMES[: dice.randint(1, 3)]
        self.every = {name: dice.choice([1, 2, 3, 5, 8, 50]) for name in self.names}
        self.chance = {name: dice.choice([0.0, 0.1, 0.5, 1.0]) for name in self.names}
        self.tasks = dice.randint(1, 2)
        # Tasks run at once, so that each has dice of its own.
        self._of_tasks = {task: random.Random(dice.random()) for task in range(10)}

    def graph(self, saver: Any) -> Any:
        channels: dict[str, Any] = {
            name: Annotated[list, DeltaChannel(appended, snapshot_frequency=self.every[name])]
            for name in self.names
        }
        state: Any = TypedDict("state", {**channels, "last": str})  # type: ignore[misc]
        builder: Any = StateGraph(state)
        for task in range(self.tasks):
            builder.add_node(f"task{task}", lambda _state, task=task: self._update(task))
            builder.add_edge(START, f"task{task}")
        builder.add_node("after", lambda _state: {**self._update(9), "last": "after"})
        builder.add_edge([f"task{task}" for task in range(self.tasks)], "after")
        return builder.compile(checkpointer=saver)

    def _update(self, task: int) -> dict[str, Any]:
        dice = self._of_tasks[task]
        return {
            name: [f"{name} of {task}: {dice.random()}"]
            for name in self.names
            if dice.random() < self.chance[name]
        }

    def turn(self, graph: Any, saver: Twin, run: int) -> None:
        """Go on from the head, or sometimes from an earlier checkpoint, or change it by hand."""
        config = {**config_of(THREAD), "metadata": {"run_id": f"run-{run % 4}"}}
        known = ids(saver)
        kind = self.dice.random()
        if known and kind < 0.2:
            config["configurable"] |= {"checkpoint_id": self.dice.choice(known)}
        if known and kind > 0.8:
            name = self.dice.choice(self.names)
            graph.update_state(config, {name: [f"by hand {run}"]}, as_node="after")
            return
        durability = self.dice.choice(["sync", "sync", "exit"])
        graph.invoke({"last": "", **self._update(8)}, config, durability=durability)


def ids(saver: HiveSaver, thread: str = THREAD) -> list[str]:
    return [found.checkpoint["id"] for found in saver.list(config_of(thread))]


def rows_of(repo: Repository, run: str = THREAD) -> Mapping[int, CheckpointRow]:
    """Return the rows of a run, hidden ones too."""

    def read(records: Any) -> dict[int, CheckpointRow]:
        catalogue = Catalogue(records.transaction)
        return dict(catalogue.oldest(catalogue.need_run(run).number))

    with suppress(NotFoundError):
        return repo._store.read(read)
    return {}


def hidden(repo: Repository, run: str = THREAD) -> int:
    return sum(row.hidden for row in rows_of(repo, run).values())


def assert_as_before(script: Script, saver: Twin, thread: str = THREAD) -> None:
    """Every checkpoint that is listed reads as one that never lost an ancestor."""
    mine, whole = script.graph(saver), script.graph(saver.memory)
    for checkpoint_id in ids(saver, thread):
        config = config_of(thread, checkpoint_id=checkpoint_id, checkpoint_ns="")
        theirs = config_of(THREAD, checkpoint_id=checkpoint_id, checkpoint_ns="")
        found, expected = saver.get_tuple(config), saver.memory.get_tuple(theirs)
        assert found is not None
        assert expected is not None
        assert _others(found, script.names) == _others(expected, script.names)
        missing = [name for name in script.names if name not in found.checkpoint["channel_values"]]
        assert saver.get_delta_channel_history(
            config=config, channels=missing
        ) == saver.memory.get_delta_channel_history(config=theirs, channels=missing)
        assert mine.get_state(config).values == whole.get_state(theirs).values
    assert saver.repository.check().ok


def _others(found: Any, names: Sequence[str]) -> list[Any]:
    """Return what a checkpoint has besides delta channels.

    Of these the twin also shows, in ``channel_values``, what an ancestor stored of the version.
    """
    checkpoint, metadata = dict(found.checkpoint), dict(found.metadata)
    values = checkpoint.pop("channel_values")
    metadata.pop("counters_since_delta_snapshot", None)  # its tuples come back as lists there
    others = {name: value for name, value in values.items() if name not in names}
    return [checkpoint, metadata, others, found.pending_writes]


POLICIES = [
    (RetentionPolicy(mode="latest_only", keep_tips=False), "--policy latest_only --no-keep-tips"),
    (RetentionPolicy(keep_last=3), "--keep-last 3"),
    (
        RetentionPolicy(max_checkpoints_per_run=5, keep_tips=False),
        "--max-checkpoints-per-run 5 --no-keep-tips",
    ),
    (RetentionPolicy(max_bytes_per_run=1_000), "--max-bytes-per-run 1kB"),
]


def assert_policy_does_what_it_says(saver: HiveSaver, dice: random.Random) -> None:
    """Apply a policy in one of the ways there are, all of which do what a dry run told."""
    repo = saver.repository
    policy, options = dice.choice(POLICIES)
    told = repo.forget(policy, run=THREAD, rebuilt=rebuilt_names, dry_run=True)
    freed = repo.gc(dry_run=True, after=told).objects_removed
    arguments = [*options.split(), "--run", THREAD, "--home", str(repo.home), "--json"]
    match dice.randrange(4):
        case 0:
            done = repo.forget(policy, run=THREAD, rebuilt=rebuilt_names)
            assert done.verdicts == told.verdicts
        case 1:
            assert repo.forget(told).verdicts == told.verdicts
        case 2:
            assert hive("forget", *arguments).json == {**plan_json(told), "dry_run": False}
        case _:
            done_by_gc = hive("gc", *arguments).json
            assert done_by_gc["forget"] == {**plan_json(told), "dry_run": False}
            assert done_by_gc["objects_removed"] == freed
    kept = {
        verdict.checkpoint.sequence: verdict.hidden for verdict in told.verdicts if verdict.keep
    }
    assert {at: row.hidden for at, row in rows_of(repo).items()} == kept


@given(st.integers(0, 1 << 32))
@settings(max_examples=25)
def test_what_is_left_reads_as_before(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    script = Script(seed)
    dice = script.dice
    home = tmp_path_factory.mktemp("home")
    with Twin(home) as saver:
        graph = script.graph(saver)
        for turn in range(dice.randint(4, 14)):
            script.turn(graph, saver, turn)
            kind = dice.randrange(8)
            if kind == 0:
                saver.prune([THREAD])
            elif kind == 1:
                saver.delete_for_runs([f"run-{dice.randrange(4)}"])
            elif kind == 2:
                if rows_of(saver.repository):
                    assert_policy_does_what_it_says(saver, dice)
            elif kind == 3 and (known := ids(saver)):
                saver.repository.tag(f"tag {turn}", (THREAD, dice.choice(known)), force=True)
            else:
                continue
            saver.repository.gc(whole=True)
            assert_as_before(script, saver)
        saver.prune([THREAD])
        saver.copy_thread(THREAD, "copy")
        saver.delete_thread(THREAD)
        saver.repository.gc(whole=True)
        assert_as_before(script, saver, "copy")


@pytest.mark.parametrize(
    ("every", "rarely", "most"),
    [((4, 4), 1, 8), ((3, 5), 1, 8), ((4, 50), 7, 24), ((50, 50), 1_000, 101)],
)
def test_no_more_stays_than_what_was_written_since_the_last_snapshots(
    tmp_path: Path, every: tuple[int, int], rarely: int, most: int
) -> None:
    with HiveSaver(tmp_path / "home") as saver, HiveSaver(tmp_path / "alone") as alone:
        graph = long_graph(saver, every, rarely)
        for turn in range(59):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        values = graph.get_state(config_of(THREAD)).values
        before = len(ids(saver)), saver.repository.stats().disk_bytes
        saver.prune([THREAD])
        saver.repository.gc(whole=True)
        saver.repository.compact()
        long_graph(alone, (1, 1), rarely).update_state(config_of(THREAD), values)
        alone.repository.compact()
        own = alone.repository.stats().disk_bytes
        stays, disk_bytes = hidden(saver.repository), saver.repository.stats().disk_bytes
        print(
            f"snapshots at every {every}, other at every {rarely}: {before[0]} checkpoints and "
            f"{before[1]:,} bytes before; 1 and {stays} out of sight, {disk_bytes:,} bytes after; "
            f"the head alone takes {own:,}"
        )
        assert len(ids(saver)) == 1
        assert stays <= most
        assert disk_bytes <= 1.2 * own
        assert graph.get_state(config_of(THREAD)).values == values
        assert saver.repository.check().ok


def test_without_knowing_the_channels_all_of_it_stays(tmp_path: Path) -> None:
    with HiveSaver(tmp_path) as saver:
        graph = long_graph(saver, (3, 5), 1)
        for turn in range(10):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        before = ids(saver)
        plan = saver.repository.forget(RetentionPolicy(mode="latest_only"), run=THREAD)
        assert len(plan.dropped) <= 1  # the first checkpoint, where nothing was counted
        assert ids(saver) == [found.key for found in plan.kept]
        told = saver.repository.forget(
            RetentionPolicy(mode="latest_only"), run=THREAD, rebuilt=lambda _execution: None
        )
        assert told.dropped == []
        assert len(ids(saver)) >= len(before) - 1


def test_a_policy_for_the_whole_store_prunes_every_thread_of_it(tmp_path: Path) -> None:
    home = str(tmp_path)
    with HiveSaver(home) as saver:
        repo = saver.repository
        graph = long_graph(saver, (9, 7), 4)
        for thread in ("alice", "bob"):
            for turn in range(12):
                graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(thread))
            repo.tag(f"first of {thread}", f"{thread}@1")
        values = {name: graph.get_state(config_of(name)).values for name in ("alice", "bob")}
        for number in range(6):
            repo.commit("plain", {"n": number})
            # Of another framework's record it cannot be told what its checkpoints are made of.
            repo.commit(
                "other",
                {"n": number},
                key=f"{number}",
                execution={"names": [number]},
                needs_parent=number > 0,
            )
    told = hive("gc", "--keep-last", "2", "--dry-run", "--home", home)
    assert re.search(r"^hide +bob@32 .* needed by bob@36$", told.output, re.MULTILINE)
    kept = "32 checkpoints kept (25 needed, 8 keep_last, 4 head, 2 tag), 18 of them out of sight"
    assert kept in told.output
    assert hive("gc", "--keep-last", "2", "--home", home).code == 0
    with HiveSaver(home) as saver:
        repo = saver.repository
        listed = {info.name: info.checkpoints for info in repo.runs()}
        assert listed == {"alice": 3, "bob": 3, "plain": 2, "other": 6}
        graph = long_graph(saver, (9, 7), 4)
        for thread, before in values.items():
            assert hidden(repo, thread) == 9
            assert graph.get_state(config_of(thread)).values == before
        assert hidden(repo, "other") == 0
        assert repo.check().ok


def test_limits_of_an_executor_prune_the_threads_beside_its_runs(tmp_path: Path) -> None:
    with HiveSaver(tmp_path) as saver:
        graph = long_graph(saver, (9, 7), 4)
        for turn in range(12):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        values = graph.get_state(config_of(THREAD)).values
    with CheckpointManager(tmp_path, CheckpointConfig(max_checkpoints=25)) as manager:
        for number in range(16):
            manager.save("plain", {"n": number})
    with HiveSaver(tmp_path) as saver:
        assert len(rows_of(saver.repository)) < 25 - 8
        assert long_graph(saver, (9, 7), 4).get_state(config_of(THREAD)).values == values


def test_an_ancestor_too_few_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above is worth something: it fails where one needed ancestor goes."""
    script = Script(7)
    found = Needs.of
    with Twin(tmp_path) as saver:
        graph = long_graph(saver, (9, 9), 2)
        script.names, script.graph = ("one", "other"), lambda given: long_graph(given, (9, 9), 2)  # type: ignore[assignment, method-assign]
        for turn in range(6):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        assert_as_before(script, saver)
        monkeypatch.setattr(Needs, "of", lambda needs, at: found(needs, at)[:2])
        saver.prune([THREAD])
        with pytest.raises(AssertionError):
            assert_as_before(script, saver)


def test_a_listed_checkpoint_never_seems_to_be_the_parent_of_another(tmp_path: Path) -> None:
    with Twin(tmp_path) as saver:
        graph = long_graph(saver, (50, 50), 1_000)
        for turn in range(6):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        known = ids(saver)
        saver.repository.tag("middle", (THREAD, known[8]))
        saver.prune([THREAD])
        assert ids(saver) == [known[0], known[8]]
        for checkpoint_id in ids(saver):
            found = saver.get_tuple(config_of(THREAD, checkpoint_id=checkpoint_id))
            assert found is not None
            assert found.parent_config is None
        assert saver.repository.check().ok


def test_nor_of_two_that_have_one_parent(tmp_path: Path) -> None:
    with Twin(tmp_path) as saver:
        graph = long_graph(saver, (50, 50), 1_000)
        for turn in range(4):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        known = ids(saver)
        forks = [
            graph.update_state(
                config_of(THREAD, checkpoint_id=known[3], checkpoint_ns=""), {"n": 0}, "step"
            )
            for _ in "ab"
        ]
        for at, config in enumerate([*forks, config_of(THREAD, checkpoint_id=known[4])]):
            saver.repository.tag(f"kept {at}", (THREAD, config["configurable"]["checkpoint_id"]))
        saver.prune([THREAD])
        assert known[4] in ids(saver)
        for config in forks:
            found = saver.get_tuple(config)
            assert found is not None
            assert found.parent_config is None
        assert saver.repository.check().ok


def test_what_is_kept_for_others_cannot_be_replaced(tmp_path: Path) -> None:
    with Twin(tmp_path) as saver:
        graph = long_graph(saver, (50, 50), 1)
        for turn in range(3):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        saver.prune([THREAD])
        rows = rows_of(saver.repository).values()
        needed = next(row.key for row in rows if row.hidden and row.key)
        before = saver.memory.get_tuple(config_of(THREAD, checkpoint_id=needed, checkpoint_ns=""))
        assert before is not None
        with pytest.raises(ConflictError, match="others are rebuilt"):
            saver.put(config_of(THREAD, checkpoint_ns=""), before.checkpoint, before.metadata, {})
        assert needed not in ids(saver)
        assert saver.repository.check().ok


def test_a_pruned_thread_is_forked_and_moved_whole(tmp_path: Path) -> None:
    script = Script(3)
    script.names, script.graph = ("one", "other"), lambda given: long_graph(given, (9, 7), 2)  # type: ignore[assignment, method-assign]
    with Twin(tmp_path / "home") as saver, HiveSaver(tmp_path / "other") as other:
        graph = script.graph(saver)
        for turn in range(8):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        repo = saver.repository
        repo.export([THREAD], tmp_path / "all", history=True)
        saver.prune([THREAD])
        repo.gc(whole=True)
        repo.fork(THREAD, "fork")
        assert_as_before(script, saver, "fork")
        assert hidden(repo, "fork") == hidden(repo) > 0
        repo.export([THREAD], tmp_path / "pruned")
        # What is left of the history is not all of it, so nothing is put on top of that.
        with pytest.raises(ConflictError, match="not whole; import it as another run"):
            repo.import_bundle(tmp_path / "all")
        repo.import_bundle(tmp_path / "all", name="all")
        assert len(ids(saver, "all")) == len(list(saver.memory.list(config_of(THREAD))))
        assert_as_before(script, saver, "all")
        other.repository.import_bundle(tmp_path / "pruned")
        values = script.graph(other).get_state(config_of(THREAD)).values
        assert values == graph.get_state(config_of(THREAD)).values
        assert other.repository.check().ok


def test_what_comes_while_a_thread_is_pruned_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tag after the plan, a turn between the last look and the cut, and no peace at all."""
    script = Script(5)
    script.names, script.graph = ("one", "other"), lambda given: long_graph(given, (9, 7), 2)  # type: ignore[assignment, method-assign]
    look = read_needs
    with Twin(tmp_path) as saver:
        graph = script.graph(saver)

        def turn(number: int) -> None:
            graph.invoke({"one": [f"question {number}"], "n": number}, config_of(THREAD))

        for number in range(12):
            turn(number)
        policy = RetentionPolicy(mode="latest_only", keep_tips=False)
        told = saver.repository.forget(policy, run=THREAD, rebuilt=rebuilt_names, dry_run=True)
        unseen = next(str(each.checkpoint.key) for each in told.verdicts if each.hidden)
        disturbed: Iterator[int] = iter([100])

        def looking(*given: Any, **more: Any) -> Any:
            found = look(*given, **more)
            for number in islice(disturbed, 1):
                turn(number)
            return found

        def planned(*given: Any) -> Any:
            saver.repository.tag("in between", (THREAD, unseen))
            return hide(*given)

        hide = hiding.hide
        monkeypatch.setattr(hiding, "hide", planned)
        monkeypatch.setattr(hiding, "read_needs", looking)
        done = saver.repository.forget(policy, run=THREAD, rebuilt=rebuilt_names)
        listed = [verdict for verdict in done.verdicts if verdict.keep and not verdict.hidden]
        assert [verdict.reasons[0].rule for verdict in listed] == ["head", "tag"]
        assert unseen in ids(saver)
        assert len(ids(saver)) == 2 + 3  # the head of then, and those of the turn
        assert_as_before(script, saver)
        monkeypatch.setattr(hiding, "hide", hide)
        disturbed = count(200)
        before = len(rows_of(saver.repository))
        saver.prune([THREAD])
        assert len(rows_of(saver.repository)) >= before  # nothing was cut
        assert_as_before(script, saver)


@pytest.mark.parametrize("ending", ["pruned", "forgotten", "deleted"])
def test_a_run_whose_beginning_goes_meanwhile_is_refused(tmp_path: Path, ending: str) -> None:
    """What it would save says what it wrote, and the rest of that channel is not there any more."""
    with HiveSaver(tmp_path) as saver:

        def step(values: Any) -> dict[str, Any]:
            if values["n"] == 99:
                if ending == "pruned":
                    saver.prune([THREAD])
                elif ending == "deleted":
                    saver.delete_thread(THREAD)
                else:
                    assert hive("forget", "--keep-last", "1", "--home", str(tmp_path)).code == 0
            return {"one": ["answer"], "n": values["n"]} | (
                {"other": ["file"]} if values["n"] < 99 else {}
            )

        graph = long_graph(saver, (50, 50), 1, step)
        for turn in range(6):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        before = ids(saver)
        start = config_of(THREAD, checkpoint_id=before[6])
        with pytest.raises(ConflictError, match="other would be lost"):
            graph.invoke({"one": ["again"], "n": 99}, start, durability="exit")
        assert ids(saver) == ([] if ending == "deleted" else before[:1])
        # What starts with all of its channels is no part of what went.
        graph.invoke({"one": ["new"], "other": ["new"], "n": 100}, config_of("u"))
        assert saver.repository.check().ok


def test_a_missing_link_is_found_and_what_needs_it_is_dropped(tmp_path: Path) -> None:
    with HiveSaver(tmp_path) as saver:
        graph = long_graph(saver, (50, 50), 1)
        for turn in range(5):
            graph.invoke({"one": [f"question {turn}"], "n": turn}, config_of(THREAD))
        saver.prune([THREAD])
        assert saver.repository.check().ok
        rows = rows_of(saver.repository)
    needed = [at for at, row in rows.items() if row.hidden]
    vandal = Vandal(tmp_path / "objects")
    vandal.delete("checkpoints", checkpoint_key(1, needed[2]))
    with HiveSaver(tmp_path) as saver:
        found = saver.repository.check()
        assert list(found.hits) == [f"{THREAD}@{needed[3]}"]
        saver.repository.repair()
        assert saver.repository.check().ok
        assert ids(saver) == []


def long_graph(
    saver: Any, every: tuple[int, int], rarely: int, does: Callable[[Any], Any] | None = None
) -> Any:
    """One step a turn, which writes to one delta channel always and to the other rarely."""
    one, other = (
        Annotated[list, DeltaChannel(appended, snapshot_frequency=count)] for count in every
    )
    state: Any = TypedDict("state", {"one": one, "other": other, "n": int})  # type: ignore[valid-type]
    builder: Any = StateGraph(state)

    def step(values: Any) -> dict[str, Any]:
        text = random.Random(values["n"]).randbytes(300).hex()
        update = {"one": [f"answer {text}"], "n": values["n"] + 1}
        return update | ({"other": [f"file {text}"]} if values["n"] % rarely == 0 else {})

    builder.add_node("step", does or step)
    builder.add_edge(START, "step")
    return builder.compile(checkpointer=saver)
