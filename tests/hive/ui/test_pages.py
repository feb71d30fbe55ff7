"""Every page says what it should, for ordinary stores and for hostile ones."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hive.ui.links import Commands
from manifests import Checkpoint, PendingWrite, Repository
from tests.hive.ui.sites import HOSTILE, commit_survey, pages_of, store_of_hostile_names


@pytest.fixture
def repo(home: Path) -> Iterator[Repository]:
    with Repository.open(home) as opened:
        yield opened


class Tags(HTMLParser):
    """Collects the elements of a page, and refuses ones that are not closed."""

    VOID = frozenset(
        ["meta", "link", "input", "rect", "line", "path", "circle", "polyline", "br", "img"]
    )

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.seen.append(data)

    def texts(self) -> str:
        """Return all that a person may see or hear."""
        spoken = [
            attrs.get(name) or "" for _, attrs in self.found for name in ("title", "aria-label")
        ]
        return "".join((*self.seen, *spoken))

    def links(self) -> list[str]:
        names = ("href", "data-load", "data-more", "data-href", "data-changed", "src")
        return [text for _, attrs in self.found for name in names if (text := attrs.get(name))]


def links(page: str, to: str) -> list[str]:
    return [link for link in Tags(page).links() if urlsplit(link).path == to]


# Runs


def test_an_empty_store_says_how_to_begin(repo: Repository) -> None:
    assert "hive demo" in pages_of(repo).get("/")
    page = pages_of(repo, commands=Commands("/another")).get("/")
    assert "hive demo --home /another" in page
    assert "hive run --home /another FILE.py:GRAPH" in page


def test_the_list_of_runs(repo: Repository) -> None:
    commit_survey(repo)
    repo.commit("other", {}, kind="final", node="write")
    page = pages_of(repo).get("/")
    assert page.index("other") < page.index(">survey<")  # the latest first
    assert re.search(r'class="mark failed".*failed', page)
    assert re.search(r'class="mark done"', page)
    assert "team=research" in page
    assert links(page, "/run") == ["/run?name=other", "/run?name=survey"]


def test_runs_are_found_by_name_and_status(repo: Repository) -> None:
    for number in range(120):
        repo.commit(f"Run {number:03}", number, kind="final" if number % 2 else "paused")
    pages = pages_of(repo)
    assert len(links(pages.get("/"), "/run")) == 50
    assert "Page 1 of 3" in pages.get("/")
    assert len(links(pages.get("/", page=2), "/run")) == 20
    assert len(links(pages.get("/", q="run 01"), "/run")) == 10
    found = links(pages.get("/", q="run 01", status="paused"), "/run")
    assert found == [f"/run?name=Run+01{number}" for number in (8, 6, 4, 2, 0)]
    assert "No run is like that" in pages.get("/", q="nothing")
    beyond = pages.get("/", page=9)
    assert "No run is like that" in beyond
    assert [page.split("page=")[1] for page in links(beyond, "/") if "page=" in page] == ["2"]
    assert "page=0" in pages.get("/", q="run 001", page=1)
    assert 'value="failed" selected>failed (0)' in pages.get("/", status="failed")


def test_statuses_come_from_whoever_knows_more(repo: Repository) -> None:
    repo.commit("run", {})
    page = pages_of(repo, status_of=lambda head: "interrupted").get("/")
    assert 'class="mark interrupted"' in page


def test_only_what_an_executor_saved_can_be_resumed(repo: Repository) -> None:
    repo.commit("thread", {"n": 1})
    repo.commit("thread", {"n": 2})
    commit_survey(repo)
    pages = pages_of(repo)
    for run, offers in (("thread", False), ("survey", True)):
        asked = (
            pages.get("/run", name=run),
            pages.get("/step", run=run, at=2),
            pages.get("/diff", run=run, at=2, from_=1),
        )
        assert [f"hive resume {run}" in page for page in asked] == [offers] * 3


# The timeline


def test_the_timeline_of_a_run(repo: Repository) -> None:
    commit_survey(repo)
    repo.tag("good", "survey@4")
    repo.fork("survey@5", "again")
    pages = pages_of(repo)
    page = pages.get("/run", name="survey")
    assert "ToolError: no &lt;answer&gt;" in page
    assert "hive resume survey" in page
    assert links(page, "/step")[-12:] == [f"/step?run=survey&at={n}" for n in range(12, 0, -1)]
    assert "<bdi>good</bdi>" in page
    assert "/run?name=again" in links(page, "/run")
    assert "12 steps added" in page
    fork = pages.get("/run", name="again")
    assert "Forked from" in fork
    assert "/step?run=survey&at=5" in links(fork, "/step")


def test_a_timeline_is_shown_by_windows(repo: Repository) -> None:
    for number in range(130):
        repo.commit("run", number)
    pages = pages_of(repo)

    def shown(page: str) -> list[int]:
        return [int(text) for text in re.findall(r'name="at" value="(\d+)"', page)]

    first = pages.get("/run", name="run")
    assert shown(first) == list(range(130, 80, -1))
    second = pages.get("/run", name="run", below=81)
    assert shown(second) == list(range(80, 30, -1))
    assert shown(pages.get("/run", name="run", below=31)) == list(range(30, 0, -1))
    wanted = {"/run?name=run", "/run?name=run&below=131", "/run?name=run&below=31"}
    assert wanted <= set(links(second, "/run"))
    pages.get("/run", name="run", below=1, expects=404)


def test_what_each_step_changed_is_fetched_apart(repo: Repository) -> None:
    commit_survey(repo, steps=4)
    page = pages_of(repo).get("/changed", name="survey", below=5)
    parts = dict(re.findall(r'data-step="(\d)">(.*?)</div>', page, re.DOTALL))
    assert parts.keys() == {"1", "2", "3", "4"}
    assert "messages" in parts["4"]
    assert "+1" in parts["4"]
    assert "sources" in parts["3"]


def test_a_timeline_learns_that_its_run_went_on(repo: Repository) -> None:
    for number in range(3):
        repo.commit("run", number)
    pages = pages_of(repo)
    (asks,) = re.findall(r'data-newer="([^"]*)"', pages.get("/run", name="run"))
    address = asks.replace("&amp;", "&")
    assert pages.get(address).strip() == ""
    repo.commit("run", 3)
    assert "went on to step 4" in pages.get(address)
    pages.get("/newer", name="absent", expects=404)


def test_a_run_that_is_named_like_a_reference_is_that_run(repo: Repository) -> None:
    for number in range(4):
        repo.commit("run", number)
    repo.commit("run@3", "named so")
    pages = pages_of(repo)
    assert "step?run=run%403&amp;at=1" in pages.get("/run", name="run@3")
    assert "named so" in pages.get("/step", run="run@3", at=1)
    assert "named so" not in pages.get("/step", run="run", at=3)


# A step


def test_the_page_of_a_step(repo: Repository) -> None:
    commit_survey(repo)
    repo.tag("good", "survey@6")
    page = pages_of(repo).get("/step", run="survey", at=6)
    assert "Step 6" in page
    assert "read &lt;everything&gt;" in page
    assert "tag" in page
    assert "hive fork survey@6 survey-fork" in page
    assert "hive show survey@6" in page
    assert "/diff?run=survey&at=6&from=5" in links(page, "/diff")
    assert {"/step?run=survey&at=5", "/step?run=survey&at=7"} <= set(links(page, "/step"))
    assert "/parts?run=survey&at=6&path=messages" in links(page, "/parts")
    assert "/parts?run=survey&at=6&of=execution" in links(page, "/parts")


def test_the_first_step_and_one_whose_parent_was_forgotten(repo: Repository) -> None:
    for number in range(4):
        repo.commit("run", number)
    pages = pages_of(repo)
    assert "This is the first step" in pages.get("/step", run="run", at=1)
    repo.forget(["run@2"])
    assert "The step before was forgotten" in pages.get("/step", run="run", at=3)
    assert "was forgotten" in pages.get("/step", run="run", at=2, expects=404)


def test_what_is_forgotten_while_a_page_is_made_is_no_error(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        repo.commit("run", number)
    footprints = Repository.footprints
    going = iter([1])

    def forgetting(self: Repository, run: str) -> Any:
        found = footprints(self, run)
        for sequence in islice(going, 1):
            repo.forget([(run, sequence)])
        return found

    monkeypatch.setattr(Repository, "footprints", forgetting)
    assert "3 steps" in pages_of(repo).get("/run", name="run")
    assert [found.sequence for found in repo.log("run")] == [4, 3, 2]


def test_a_state_is_unfolded_level_by_level(repo: Repository) -> None:
    numbers = {f"key {n}": {"n": n, "deep": [[n]]} for n in range(250)}
    repo.commit("run", {"numbers": numbers, "tuple": (1, {"x": "y"}), "set": {(1, 2)}})
    pages = pages_of(repo)
    part = pages.get("/parts", run="run", at=1, path="numbers")
    assert part.count("<li>") == 100
    assert "150 left" in part
    (more,) = [link for link in Tags(part).links() if "start=100" in link and "parts" in link]
    assert "key 100" in pages.get(more)
    last = pages.get("/parts", run="run", at=1, path="numbers", start=200)
    assert last.count("<li>") == 50
    assert "left" not in last
    inner = next(link for link in Tags(last).links() if "key+249" in link and "/parts" in link)
    assert "249" in pages.get(inner)
    for path, says in (("tuple[1]", "y"), ("set[#0]", "2"), ("numbers['key 7'].deep[0]", "7")):
        assert says in pages.get("/parts", run="run", at=1, path=path)
        assert says in pages.get("/step", run="run", at=1, path=path)


def test_how_much_stands_at_a_place_is_said_in_what_it_is_counted_in(repo: Repository) -> None:
    value = {"name": "mü", "blob": b"abc", "items": [1, 2], "long": "é" * 50_000, "number": 7}
    repo.commit("run", value)
    pages, said = pages_of(repo), {}
    for name in value:
        page = pages.get("/step", run="run", at=1, path=name)
        (said[name],) = re.findall(r'<h2 id="state".*<span class="extent">(.*?)</span></h2>', page)
    assert said == {
        "name": "2 characters",
        "blob": "3 B",
        "items": "2 items",
        "long": "100 kB",  # a text kept apart is not read to count its characters
        "number": "",
    }


def test_of_a_text_of_several_lines_the_first_is_shown_and_that_there_are_more(
    repo: Repository,
) -> None:
    repo.commit("run", {"poem": "first line\nsecond line\nthird line", "short": "one line"})
    part = pages_of(repo).get("/parts", run="run", at=1)
    shown = re.findall(r'<span class="value text"><bdi>(.*?)</bdi>', part, re.DOTALL)
    assert shown == ["first line…", "one line"]


def test_a_long_text_is_shown_in_parts(repo: Repository) -> None:
    text = "".join(f"line {n} é\n" for n in range(6_000))
    repo.commit("run", {"text": text, "bytes": b"\x00\xffabc" * 9_000, "short": "two\nlines"})
    pages = pages_of(repo)
    # A parser of HTML drops a line end that stands first in a <pre>, so one is put there.
    shown, address = "", "/text?run=run&at=1&path=text"
    while address:
        page = pages.get(address)
        match = re.search(r"<pre[^>]*>\n(.*?)</pre>", page, re.DOTALL)
        assert match
        shown += match[1]
        address = next((link for link in Tags(page).links() if link.startswith("/text")), "")
    assert shown == text
    assert "00 ff 61 62 63" in pages.get("/text", run="run", at=1, path="bytes")
    assert "00000005" not in pages.get("/step", run="run", at=1, path="bytes")
    assert "two\nlines" in pages.get("/text", run="run", at=1, path="short")
    pages.get("/text", run="run", at=1, path="", expects=404)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "None"),
        (True, "True"),
        (-5, "-5"),
        (1 << 20_000, "0x100000"),
        (float("nan"), "nan"),
        (1e300, "1e+300"),
        ("", "str"),
        (b"\x00\xff", "00 ff"),
        (dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC), "2026-03-01T12:00:00+00:00"),
        ([], "Empty"),
        ({}, "Empty"),
        (set(), "Empty"),
        ([[]], "list"),
        ([1 << 20_000], "0x100000"),
        ({(1 << 20_000,): {1 << 20_000}}, "0x100000"),
    ],
    ids=[
        *("none", "bool", "int", "huge", "nan", "float", "empty text", "bytes", "datetime"),
        *("empty list", "empty dict", "empty set", "nested", "huge ones", "huge key"),
    ],
)
def test_states_of_every_kind(repo: Repository, value: Any, says: str) -> None:
    repo.commit("run", value if not isinstance(value, set) else {"a": value})
    repo.commit("run", {"a": value})
    pages = pages_of(repo)
    path = "a" if isinstance(value, set) else ""
    assert says in pages.get("/step", run="run", at=1, path=path)
    pages.get("/step", run="run", at=2)
    pages.get("/diff", run="run", at=2, from_=1)


def test_an_application_s_classes_are_shown_without_them(home: Path) -> None:
    from tests.manifests.classes import Colour, Point, registry

    with Repository.open(home, registry=registry()) as repo:
        repo.commit("run", {"point": Point(1, {"a": 2}), "colour": Colour.RED})
    with Repository.open(home, read_only=True) as repo:
        pages = pages_of(repo)
        page = pages.get("/step", run="run", at=1)
        assert "Point" in page
        assert "RED" in page
        assert "x" in pages.get("/parts", run="run", at=1, path="point")
        assert "2" in pages.get("/parts", run="run", at=1, path="point.y")


def test_references_lead_to_their_steps(repo: Repository) -> None:
    commit_survey(repo)
    repo.tag("good", "survey@4")
    pages = pages_of(repo)
    head = repo.resolve("survey")
    for ref, at in (("survey", 12), ("survey@3", 3), ("survey~2", 10), ("tag:good", 4)):
        answer = pages.client.get("/go", params={"ref": ref})
        assert answer.headers["location"] == f"/step?run=survey&at={at}"
    assert pages.client.get("/go", params={"ref": str(head.id)[:10]}).status_code == 303
    for ref in ("absent", "../../x", "//evil.example", "https://evil.example", "survey@99"):
        assert "location" not in pages.client.get("/go", params={"ref": ref}).headers
    pages.get("/go", expects=400)


# Beside the states


def test_pending_writes_of_a_step(repo: Repository) -> None:
    commit_survey(repo)
    pages = pages_of(repo)
    for page in (pages.get("/step", run="survey", at=12), pages.get("/run", name="survey")):
        assert not links(page, "/pending")
    repo.put_pending("survey", 12, [PendingWrite("t", n, f"<n{n}>", "<v>") for n in range(101)])
    for page in (pages.get("/step", run="survey", at=12), pages.get("/run", name="survey")):
        assert links(page, "/pending") == ["/pending?run=survey&at=12"]
        assert "101 writes" in page
    page = pages.get("/pending", run="survey", at=12)
    assert "&lt;n99&gt;" in page
    assert "&lt;n100&gt;" not in page
    (more,) = (link for link in links(page, "/pending") if "start" in link)
    rest = pages.client.get(more).text
    assert "&lt;n100&gt;" in rest
    assert not [link for link in links(rest, "/pending") if "start" in link]
    assert "There are none." in pages.get("/pending", run="survey", at=3)


def test_effects_of_a_run(repo: Repository) -> None:
    repo.record_effect("survey", "early", 1)
    commit_survey(repo)
    repo.record_effect("survey", "pay", {"receipt": "<b>"})
    page = pages_of(repo).get("/run", name="survey")
    assert links(page, "/effects") == ["/effects?name=survey"]
    page = pages_of(repo).get("/effects", name="survey")
    assert "{&#39;receipt&#39;: &#39;&lt;b&gt;&#39;}" in page
    assert "hive effects survey" in page
    assert links(page, "/step") == ["/step?run=survey&at=12"]


# Differences


def test_what_differs_between_two_steps(repo: Repository) -> None:
    repo.commit("run", {"n": 1, "text": "one\ntwo\nthree", "gone": [1], "same": "s"})
    repo.commit("run", {"n": 2, "text": "one\n2\nthree", "new": {"a": 1}, "same": "s"})
    pages = pages_of(repo)
    page = pages.get("/diff", run="run", at=2, from_=1)
    assert re.findall(r'<li class="change (\w+)">', page) == [
        *("changed", "changed", "added", "removed")
    ]
    assert "<mark>two</mark>" in page
    assert "<mark>2</mark>" in page
    assert "same" not in re.sub(r"<[^>]*>", "", page.split("changes")[1].split("</ol>")[0])
    assert "/step?run=run&at=1&path=gone" in links(page, "/step")
    assert "/step?run=run&at=2&path=new" in links(page, "/step")
    assert "hive diff run@1 run@2" in page
    assert "The two states are the same" in pages.get("/diff", run="run", at=1, from_=1)


def test_many_differences_are_shown_by_windows(repo: Repository) -> None:
    repo.commit("run", {f"k{n:03}": n for n in range(120)})
    repo.commit("run", {f"k{n:03}": -n for n in range(120)})
    pages = pages_of(repo)
    first = pages.get("/diff", run="run", at=2, from_=1)
    assert first.count('<li class="change') == 50
    assert "/diff?run=run&at=2&from=1&start=50" in links(first, "/diff")
    last = pages.get("/diff", run="run", at=2, from_=1, start=100)
    assert last.count('<li class="change') == 19
    assert "Further" not in last.split("</ol>")[-1]


def test_runs_are_compared_with_one_another(repo: Repository) -> None:
    repo.commit("a", {"n": 1})
    repo.commit("b", {"n": 2})
    pages = pages_of(repo)
    for typed, target in (("b", "/diff?run=a&at=1&from=1&from_run=b"), ("1", None)):
        answer = pages.client.get("/compare", params={"run": "a", "at": 1, "with": typed})
        assert answer.headers["location"] == (target or "/diff?run=a&at=1&from=1")
    page = pages.get("/diff", run="a", at=1, from_=1, from_run="b")
    assert "<bdi>a</bdi>" in page
    assert "<bdi>b</bdi>" in page


# What is asked for wrongly


@pytest.mark.parametrize(
    ("page", "query", "status"),
    [
        ("/absent", {}, 404),
        ("/run", {}, 400),
        ("/run", {"name": "absent"}, 404),
        ("/run", {"name": "survey", "below": "x"}, 400),
        ("/run", {"name": "survey", "below": "-1"}, 400),
        ("/run", {"name": "\x00"}, 400),
        ("/step", {"run": "survey"}, 400),
        ("/step", {"run": "survey", "at": "99"}, 404),
        ("/step", {"run": "survey", "at": "9" * 40}, 400),
        ("/step", {"run": "survey", "at": "1", "path": "a[["}, 400),
        ("/step", {"run": "survey", "at": "1", "path": "[5:2]"}, 400),
        ("/text", {"run": "survey", "at": "1", "path": "[5:2]"}, 400),
        ("/step", {"run": "survey", "at": "1", "path": "absent"}, 404),
        ("/step", {"run": "survey", "at": "1", "path": "messages[9]"}, 404),
        ("/parts", {"run": "survey", "at": "1", "path": "x" * 9_000}, 400),
        ("/parts", {"run": "survey", "at": "1", "path": "messages[__import__('os')]"}, 400),
        ("/diff", {"run": "survey", "at": "1"}, 404),
        ("/compare", {"run": "survey", "at": "1", "with": "absent"}, 404),
        ("/compare", {"run": "survey", "at": "1", "with": "9" * 10}, 404),
        ("/compare", {"run": "survey", "at": "1", "with": "9" * 5_000}, 400),
        ("/pending", {"run": "survey", "at": "9"}, 404),
        ("/effects", {"name": "absent"}, 404),
        ("/", {"page": "1e9"}, 400),
    ],
)
def test_what_is_not_there_is_said(
    repo: Repository, page: str, query: dict[str, str], status: int
) -> None:
    commit_survey(repo, steps=2)
    text = pages_of(repo).get(page, expects=status, **query)
    Tags(text)
    assert "Traceback" not in text


def test_an_unexpected_error_shows_nothing_of_what_it_met(
    repo: Repository, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError("CANARY")

    commit_survey(repo, steps=2)
    pages = pages_of(repo)
    monkeypatch.setattr(Repository, "readable_runs", fail)
    assert "CANARY" not in pages.get("/", expects=500)
    assert "page / raised RuntimeError in fail" in caplog.text
    assert "CANARY" not in caplog.text


def test_of_many_runs_only_those_shown_are_looked_at(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        repo.commit(f"run-{number}", {}, kind="failed" if number == 1 else "final")
    looked_at: list[str] = []

    def status_of(head: Checkpoint) -> str:
        looked_at.append(head.run)
        return "done" if head.kind == "final" else "failed"

    pages = pages_of(repo, status_of=status_of)
    assert "done (5)" in pages.get("/")
    assert len(looked_at) == 6
    monkeypatch.setattr("hive.ui.run_pages._MOST_COUNTED", 5)
    monkeypatch.setattr("hive.ui.run_pages._RUNS", 2)
    looked_at.clear()
    page = pages.get("/", page=1)
    assert looked_at == ["run-3", "run-2"]
    assert "all (6)" in page
    assert ">done</option>" in page
    assert "Page 2 of 3, 6 runs" in page
    page = pages.get("/", status="failed")
    assert set(looked_at) == {f"run-{number}" for number in range(6)}
    assert "run-1" in page
    assert "run-3" not in page


def test_damage_is_told_apart(repo: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    from hive import CorruptObjectError

    def fail(*_args: object, **_options: object) -> None:
        raise CorruptObjectError("an object is damaged")

    commit_survey(repo, steps=2)
    pages = pages_of(repo)
    monkeypatch.setattr(Repository, "outline", fail)
    assert "an object is damaged" in pages.get("/step", run="survey", at=1, expects=500)


# Hostile names and values


def test_hostile_stores_are_shown_as_they_are(home: Path) -> None:
    store_of_hostile_names(home)
    with Repository.open(home, read_only=True) as repo:
        pages = pages_of(repo, commands=Commands("/home/o'neil/.hive"))
        seen, waiting = set[str](), ["/"]
        while waiting:
            address = waiting.pop()
            if address in seen or address.startswith("/static"):
                continue
            seen.add(address)
            answer = pages.client.get(address, follow_redirects=True)
            assert answer.status_code == 200, address
            found = Tags(answer.text)
            for tag, attrs in found.found:
                allowed = tag != "script" or attrs == {"src": "/static/hive.js", "defer": None}
                assert allowed, attrs
                assert not any(name.startswith("on") or name == "style" for name in attrs)
                assert tag not in ("img", "i", "b", "u", "s", "em", "iframe", "object", "label>")
            assert not re.search("[\x00-\x08\x0b-\x1f\u202e\u200b]", found.texts()), address
            for link in found.links():
                if link == "#main":
                    continue
                assert link.startswith("/"), link
                assert not link.startswith("//"), link
                # One of everything, and two of what is different for each name.
                target = urlsplit(link)
                key = (target.path, *sorted(parse_qs(target.query).keys()))
                if target.path in ("/run", "/step") or sum(key_of(s) == key for s in seen) < 3:
                    waiting.append(link)
        assert len([address for address in seen if address.startswith("/run?")]) > len(HOSTILE)


def key_of(address: str) -> tuple[str, ...]:
    target = urlsplit(address)
    return (target.path, *sorted(parse_qs(target.query).keys()))
