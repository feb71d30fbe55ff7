"""The commands that look at runs: diff, log's graph, grep, runs' filters, stats, hive alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cas.errors import InvalidInputError
from hive.cli.describe import shown_path
from hive.cli.lanes import Lanes
from hive.cli.launches import while_executing
from hive.cli.quantities import parse_since
from hive.cli.textdiff import text_changes
from hive.literals import glimpse
from manifests import PendingWrite, Repository
from tests.hive.command_line import hive, on_terminal

EVIL = "\x1b[2J\u202e"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    """``bees`` with a fork inside, and ``drones`` forked off it."""
    with Repository.open(home) as opened:
        state: dict[str, Any] = {"messages": ["a"], "count": 0, "notes": "x\n" * 100}
        opened.commit("bees", state, kind="input")
        opened.commit("bees", {**state, "messages": ["a", "b", "c"], "plan": 1}, node="gather")
        opened.commit("bees", {**state, "count": 1}, node="dance", parent="bees@1")
        notes = "x\n" * 50 + f"needle {EVIL}\n" + "x\n" * 50
        opened.commit("bees", {"messages": ["z"], "count": 1, "notes": notes}, node="dance")
        opened.fork("bees@3", "drones")
        opened.tag("gold", "bees@2")
        yield opened


# diff


def test_diff_of_what_has_nothing_before_it_says_how_to_go_on(repo: Repository) -> None:
    ran = hive("diff", "bees@1")
    assert ran.code == 3
    assert ran.errors.endswith("it has no ancestor; compare it with another one: hive diff A B\n")


def test_diff(repo: Repository) -> None:
    ran = hive("diff", "bees@2", "bees@4")
    assert ran.code == 0
    assert ran.output.splitlines() == [
        "bees@2 (gather) -> bees@4 (dance)",
        "~ messages[0]: 'a' -> 'z'",
        "- messages[1]: 'b'",
        "- messages[2]: 'c'",
        "~ count: 0 -> 1",
        "~ notes: text of 200 -> 213",
        "    @@ -50,2 +50,3 @@",
        "     x",
        "    +needle \\x1b[2J\\u202e",
        "     x",
        "- plan: 1",
        "",
        "3 removed, 3 changed",
    ]


def test_diff_with_the_checkpoint_before(repo: Repository) -> None:
    assert hive("diff", "bees@3").output.splitlines() == [
        "bees@1 -> bees@3 (dance)",
        "~ count: 0 -> 1",
        "",
        "1 changed",
    ]
    assert hive("diff", "bees@3", "drones").output.endswith("the states are equal\n")
    ran = hive("diff", "bees@1")
    assert (ran.code, "no ancestor" in ran.errors) == (3, True)


def test_diff_as_json(repo: Repository) -> None:
    shown = hive("diff", "bees@2", "bees@4", "--json").json
    assert (shown["before"]["sequence"], shown["after"]["sequence"]) == (2, 4)
    assert shown["complete"]
    assert shown["changes"][1] == {
        "kind": "removed",
        "path": "['messages'][1]",
        "before": "b",
        "after": None,
    }
    some = hive("diff", "bees@2", "bees@4", "--json", "-n", "2").json
    assert (len(some["changes"]), some["complete"]) == (2, False)
    assert "first 2 changes" in hive("diff", "bees@2", "bees@4", "-n", "2").output


def test_diff_of_whole_values(repo: Repository) -> None:
    repo.commit("a", {"x": [1, {"y": 2}], "z": 1})
    repo.commit("a", {"x": {"long": "word " * 30}, "z": 1})
    output = hive("diff", "a", "--full").output
    assert "    - [1, {'y': 2}]\n" in output
    assert output.count("word") == 30


@pytest.mark.parametrize("command", [["diff", "none"], ["diff", "bees", "none"]])
def test_diff_with_what_is_not_there(repo: Repository, command: list[str]) -> None:
    assert hive(*command).code == 3


def test_diff_on_a_terminal_is_coloured_and_safe(repo: Repository) -> None:
    code, shown = on_terminal("diff", "bees@2", "bees@4")
    assert code == 0
    assert "\x1b[31m-\x1b[0m" in shown
    assert "\x1b[2J" not in shown


lines = st.lists(st.sampled_from(["a", "b", "c" * 30, ""]), max_size=30).map("\n".join)


@given(lines, lines, st.integers(0, 3))
def test_text_changes_hold_every_line_that_differs(before: str, after: str, context: int) -> None:
    before, after = "k" * 81 + "\n" + before, "k" * 81 + "\n" + after
    told = text_changes(before, after, context=context)
    assert told is not None
    old, new = before.splitlines(), after.splitlines()
    for header, *body in _hunks(told):
        match = re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", header)
        if match is None:
            continue
        for sign, start, count, whole in (
            ("-", match[1], match[2], old),
            ("+", match[3], match[4], new),
        ):
            part = [line[1:] for line in body if line[0] in (" ", sign)]
            assert len(part) == int(count or 1)
            assert whole[int(start) - 1 :][: len(part)] == part or not part


def _hunks(told: list[str]) -> Iterator[list[str]]:
    hunk: list[str] = []
    for line in told:
        if line.startswith("@@") and hunk:
            yield hunk
            hunk = []
        hunk.append(line)
    yield hunk


def test_a_change_within_a_line_shows_what_is_around_it() -> None:
    before = "one " * 50 + "middle" + " two" * 50
    assert text_changes(before, before.replace("middle", "centre!"), context=1) == [
        "@@ character 201 @@",
        "-..." + "one " * 5 + "middle" + " two" * 5 + "...",
        "+..." + "one " * 5 + "centre!" + " two" * 5 + "...",
    ]
    assert text_changes("short", "text", context=1) is None
    many = "\n".join(map(str, range(3_000)))
    others = "\n".join(map(str, range(5_000, 8_000)))
    assert text_changes(many, others, context=1) == ["@@ line 1 @@", "-3,000 lines", "+3,000 lines"]


# log


def test_log_draws_forks_and_says_what_changed(repo: Repository) -> None:
    ran = hive("log", "bees")
    rows = [re.split(r"  +", line) for line in ran.output.splitlines()]
    assert [row[0].strip() for row in rows[1:]] == ["*", "*", "| *", "|/", "*"]
    changed = [row[-1] if "tag" not in row[-1] else row[-2] for row in rows[1:]]
    assert changed == [
        "messages ~1, notes",
        "fork drones",
        "messages +2, +plan",
        "|/",
        "+messages, +count, +notes",
    ]
    assert "from bees@3" in hive("log", "drones").output


def test_log_pages(repo: Repository) -> None:
    ran = hive("log", "bees", "-n", "2")
    assert ran.output.endswith("... older ones: --before 3, --limit N or --all\n")
    ran = hive("log", "bees", "-n", "2", "--before", "3", "--json")
    assert [row["sequence"] for row in ran.json] == [2, 1]
    assert ran.errors == ""
    assert "older" in hive("log", "bees", "-n", "2", "--json").errors
    assert len(hive("log", "bees", "--all", "--json").json) == 4
    assert hive("log", "bees", "--before", "1").output == "no checkpoint before 1\n"
    assert hive("log", "bees", "--json").json[1]["forks"] == ["drones"]
    repo.forget(["bees@1"])
    assert "its parent was forgotten" in hive("log", "bees").output
    assert hive("log", "bees", "--json").json[-1]["changed"] is None


def test_a_run_on_end_is_one_line() -> None:
    lanes = Lanes()
    assert [lanes.draw(name, name - 1 or None) for name in (3, 2, 1)] == [([], "*")] * 3


def test_lines_meet_where_runs_were_forked() -> None:
    lanes = Lanes()
    drawn = []
    for name, parent in [("e", "c"), ("d", "b"), ("c", "a"), ("b", "a"), ("a", None)]:
        joins, own = lanes.draw(name, parent)
        drawn += [*joins, own]
    assert drawn == ["*", "| *", "* |", "| *", "|/", "*"]


@given(st.data())
def test_every_checkpoint_has_one_star(data: st.DataObject) -> None:
    parents = {1: None} | {
        name: data.draw(st.one_of(st.none(), st.integers(1, name - 1)), label=str(name))
        for name in range(2, 12)
    }
    lanes = Lanes()
    for name in sorted(parents, reverse=True):
        joins, own = lanes.draw(name, parents[name])
        assert own.count("*") == 1
        assert all(set(each) <= set("|/_ ") and "/" in each for each in joins)


def test_numbers_of_very_many_digits_are_shown_wherever_they_stand(repo: Repository) -> None:
    huge = 10**6_000
    state = {huge: 1, (huge, "k"): 2, "list": [huge], "set": {huge}, "dict": {huge: 3}}
    repo.commit("ants", state)
    repo.commit("ants", {**state, "set": {huge, 1}})
    digits = hex(huge)[:8]
    lines = hive("show", "ants").output.splitlines()
    assert sum(digits in line for line in lines) == 2
    assert digits in hive("show", "ants", "set").output
    assert digits in hive("show", "ants", "dict", "--summary").output
    assert digits in hive("diff", "ants@1", "ants@2").output


# what is beside the states


def test_show_says_what_is_pending(repo: Repository) -> None:
    assert "PENDING" not in hive("show", "drones").output
    assert hive("show", "drones", "--json").json["pending"] == []
    writes = [
        PendingWrite("task-1", n, "out\u202e", {"n": n, "e": EVIL}, "pull, a") for n in range(201)
    ]
    repo.put_pending("drones", 1, [*writes, PendingWrite("task-2", -3, "__interrupt__", "ok?")])
    lines = hive("show", "drones").output.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("PENDING"))
    assert re.fullmatch(r"__interrupt__ +'ok\?' +task-2", lines[at + 1])
    evil = r"out\\u202e +\{'n': 0, 'e': '\\x1b\[2J\\u202e'\} +task-1 \(pull, a\)"
    assert re.fullmatch(evil, lines[at + 2])
    assert lines[-1] == "... and 2 more"
    assert len(lines) == at + 202
    shown = hive("show", "drones", "--json").json["pending"]
    assert len(shown) == 202
    assert shown[1] == {
        **{"task": "task-1", "path": "pull, a", "index": 0},
        **{"name": "out\u202e", "value": {"n": 0, "e": EVIL}},
    }
    assert "pending" not in hive("show", "drones", "count", "--json").json


def test_effects_are_listed(repo: Repository) -> None:
    assert hive("effects", "bees").output == "This run recorded no effects.\n"
    assert hive("effects", "bees", "--json").json == []
    assert hive("effects", "wasps").code == 3
    repo.record_effect("bees", "pay\u202e", {"receipt": b"1", "to": EVIL})
    repo.record_effect("hornets", "early", None)  # its first checkpoint may be on its way
    assert hive("effects", "bees").output.splitlines() == [
        "EFFECT     AFTER  VALUE",
        "pay\\u202e      4  {'receipt': b'1', 'to': '\\x1b[2J\\u202e'}",
    ]
    assert hive("effects", "bees", "--json").json == [
        {"name": "pay\u202e", "after": 4, "value": {"receipt": {"$bytes": "MQ=="}, "to": EVIL}}
    ]
    assert hive("effects", "hornets", "--json").json[0]["after"] == 0


# grep


def test_grep(repo: Repository) -> None:
    ran = hive("grep", "needle")
    assert ran.code == 0
    assert ran.output == "bees@4 notes: needle \\x1b[2J\\u202e\n"
    shown = hive("grep", "NEEDLE", "-i", "--json").json
    assert [(row["run"], row["sequence"], row["path"]) for row in shown] == [
        ("bees", 4, "['notes']")
    ]
    assert shown[0]["text"][shown[0]["start"] : shown[0]["end"]] == "needle"
    assert hive("grep", "^a$").output == "bees@1 messages[0]: a\ndrones@1 messages[0]: a\n"
    assert (
        hive("grep", "^(a|plan)$", "bees@2").output == "bees@2 messages[0]: a\nbees@2 plan: plan\n"
    )
    assert hive("grep", "^a$", "--heads").output == "drones@1 messages[0]: a\n"
    assert hive("grep", "^a$", "--run", "bees").output == "bees@1 messages[0]: a\n"


def test_grep_that_finds_nothing(repo: Repository) -> None:
    ran = hive("grep", "honey", "--json")
    assert (ran.code, ran.json) == (1, [])
    assert hive("grep", "a.c", "-F").code == 1
    ran = hive("grep", "(")
    assert (ran.code, "regular expression" in ran.errors) == (2, True)
    assert hive("grep", "x", "none").code == 3
    ran = hive("grep", ".", "-n", "1")
    assert (ran.code, ran.output.count("\n")) == (0, 1)
    assert "more than 1 match" in ran.errors


# runs


def test_runs_can_be_picked(repo: Repository) -> None:
    repo.commit("wasps", {}, kind="paused", labels={"hive": "north", "team": "x"})
    ants = repo.commit("ants", {}, labels={"hive": "south"})
    with while_executing(repo.home, "ants"):
        assert names("--status", "running") == ["ants"]
    assert names("--interrupted") == []
    repo.end_claim(repo.claim("ants", ants))
    assert names("--interrupted") == ["ants"]
    assert names("--status", "paused") == ["wasps"]
    assert names("--label", "hive") == ["ants", "wasps"]
    assert names("--label", "hive=north", "--label", "team") == ["wasps"]
    assert names("--since", "1h") == ["ants", "bees", "drones", "wasps"]
    assert names("--since", "2999-01-01") == []
    assert hive("runs", "--label", "none").output == "No such runs; `hive runs` lists all.\n"
    assert hive("runs", "--status", "dead").code == 2
    assert hive("runs", "--since", "then").code == 2


def names(*options: str) -> list[str]:
    return sorted(row["run"] for row in hive("runs", "--json", *options).json)


def test_the_latest_runs_are_listed_alone(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        repo.commit(f"run-{number}", {}, kind="failed" if number % 2 else "final")
    looked_at: list[str] = []
    claim_of = Repository.claim_of

    def noting(repo: Repository, run: str) -> object:
        looked_at.append(run)
        return claim_of(repo, run)

    monkeypatch.setattr(Repository, "claim_of", noting)
    ran = hive("runs", "--limit", "1", "--no-bytes")
    assert "run-3" in ran.output
    assert "run-2" not in ran.output
    assert "there are more" in ran.errors
    assert looked_at == ["run-3", "run-2"]
    ran = hive("runs", "-n", "9", "--status", "done", "--json", "--no-bytes")
    assert [row["run"] for row in ran.json] == ["run-2", "run-0"]
    assert "more" not in ran.errors
    assert hive("runs", "--limit", "0").code == 2


def test_runs_say_what_they_take(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in hive("runs", "--json").json if row["run"] == "bees")
    stats = repo.stats().runs["bees"]
    assert (row["unique_bytes"], row["shared_bytes"]) == (stats.unique_bytes, stats.shared_bytes)
    assert "ONLY HERE" in hive("runs").output
    assert "ONLY HERE" not in hive("runs", "--no-bytes").output
    monkeypatch.setattr("hive.cli.runs.MOST_MEASURED", 3)
    ran = hive("runs")
    assert "ONLY HERE" not in ran.output
    assert "--bytes" in ran.errors
    assert hive("runs", "--json").json[0]["unique_bytes"] is None
    assert hive("runs", "--json", "--bytes").json[0]["unique_bytes"] is not None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12h", NOW - timedelta(hours=12)),
        ("2026-05-31", datetime(2026, 5, 31, tzinfo=UTC)),
        ("2026-05-31T10:00:00+02:00", datetime(2026, 5, 31, 8, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    assert parse_since(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "999999w"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_since(text, NOW)


# stats


def test_stats_say_what_gc_would_free(repo: Repository) -> None:
    assert hive("stats", "--json").json["freeable_bytes"] == 0
    repo.commit("big", {"x": "".join(map(str, range(20_000)))})
    repo.delete_run("big")
    assert hive("stats", "--json").json["freeable_bytes"] > 1_000
    assert "to be freed" in hive("stats").output


# texts


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("['messages'][3]['content']", "messages[3].content"),
        ("['a b'].x['c']", "['a b'].x.c"),
        ("[0]", "[0]"),
        ("", ""),
        (".x[True]", "x[True]"),
        ("['abc...", "['abc..."),
    ],
)
def test_paths_are_shown_as_they_are_typed(path: str, shown: str) -> None:
    assert shown_path(path) == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, (2,)], "b": "x"}, "{'a': [1, (2,)], 'b': 'x'}"),
        (["word " * 9] * 10**6, "['word word word word word word word ..."),
        ("\x1b" * 100, "'\\x1b\\x1b\\x1b\\x1b\\x1b\\x1b\\x1b\\x1b\\x1b..."),
        (None, "None"),
    ],
    ids=["small", "large", "evil", "none"],
)
def test_a_glimpse_of_a_value(value: Any, text: str) -> None:
    assert glimpse(value, width=40) == text
    assert len(text) <= 40
