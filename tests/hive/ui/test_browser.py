"""Pages in a real browser: one journey, every page, keys, scripts off, and hostile neighbours."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from manifests import Repository
from tests.hive.ui.sites import (
    HOSTILE,
    commit_survey,
    link_in,
    running,
    store_of_hostile_names,
)

if TYPE_CHECKING:
    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Dialog,
        Locator,
        Page,
        Route,
    )

PAGES = {
    "runs": "/",
    "run": "/run?name=survey",
    "forks": "/run?name=branches",
    "step": "/step?run=survey&at=20",
    "part": "/step?run=survey&at=20&path=messages[3]",
    "text": "/step?run=survey&at=20&path=messages[3].content",
    "differences": "/diff?run=survey&at=20&from=17",
    "pending": "/pending?run=..%2F..%2Fetc%2Fpasswd&at=2",
    "effects": "/effects?name=..%2F..%2Fetc%2Fpasswd",
    "problem": "/run?name=absent",
    "hostile": "/step?run=%3Cscript%3Ealert%28%27run%27%29%3C%2Fscript%3E&at=1",
}
SCREENS = (("light", 1280, tuple(PAGES)), ("dark", 390, ("run", "step")))


@dataclass
class Served:
    """A running ``hive ui``: its link, and where its pages are."""

    link: str
    home: str
    base: str = field(init=False)

    def __post_init__(self) -> None:
        self.base = self.link.split("/open")[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("home")
    store_of_hostile_names(home)
    with Repository.open(home) as repository:
        for number in range(5):
            repository.commit("branches", {"n": number})
        repository.commit("branches", {"n": "other"}, parent="branches@2", kind="paused")
        big = {"rows": [{"n": n, "text": "t" * 90} for n in range(3_000)], "long": "line\n" * 9_000}
        repository.commit("big", big, kind="final")
        commit_survey(repository, steps=20)
    with running(home, "--no-browser") as (_process, line):
        yield Served(link_in(line), str(home))


@dataclass
class Visit:
    """A browser window in which nothing may go wrong: no foreign request, error or dialog."""

    page: Page
    served: Served
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def met_dialog(self, dialog: Dialog) -> None:
        self.problems.append("dialog")
        dialog.dismiss()

    def met_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def go(self, path: str) -> None:
        self.page.goto(self.served.base + path)
        if self.page.locator("table[data-changed]").count():
            self.page.locator("table[data-state=loaded]").wait_for()

    def follow(self, link: Locator) -> None:
        """Click what leads to another page, and wait for all of it: a click waits for its start."""
        with self.page.expect_navigation():
            link.click()


@contextmanager
def visit(browser: Browser, served: Served, **options: Any) -> Iterator[Visit]:
    """Open a window, follow the link, and check in the end that nothing went wrong."""
    context: BrowserContext = browser.new_context(**options)
    context.set_default_timeout(60_000)
    made = Visit(context.new_page(), served)
    context.on("request", lambda request: made.requests.append(request.url))
    context.on("weberror", lambda error: made.problems.append(str(error.error)))
    context.on("dialog", made.met_dialog)
    context.on("console", made.met_message)
    try:
        made.page.goto(served.link)
        made.page.wait_for_url(served.base + "/")
        yield made
        assert all(url.startswith(served.base + "/") for url in made.requests)
        assert made.problems == []
    finally:
        context.close()


def test_from_a_failed_run_to_the_command_that_resumes_it(browser: Browser, served: Served) -> None:
    with visit(browser, served) as window:
        page = window.page
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_label("Status").select_option("failed")
        page.get_by_label("Name", exact=True).fill("surv")
        window.follow(page.get_by_role("button", name="Show"))
        window.follow(page.get_by_role("link", name="survey"))
        assert page.get_by_role("heading", level=1).inner_text() == "survey"
        assert "no <answer>" in page.get_by_role("region", name="Why it failed").inner_text()
        page.locator("td.col-changed", has_text="messages").first.wait_for()
        window.follow(page.get_by_role("table").get_by_role("link", name="20", exact=True))
        assert page.get_by_role("heading", level=1).inner_text() == "Step 20 of survey"
        page.locator("summary", has_text="messages").click()
        page.locator("summary", has_text="19 dict").click()
        page.locator("details.text > summary", has_text="content").click()
        page.get_by_text("message 20").last.wait_for()
        window.follow(page.get_by_role("link", name="Compare with the step before"))
        page.get_by_role("heading", name="What changed").wait_for()
        assert "messages[19]" in page.get_by_role("main").inner_text()
        page.get_by_role("button", name="Copy the command: Resume").click()
        page.get_by_role("button", name="Copied").or_(page.get_by_text("Copied")).first.wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == f"hive resume --home {served.home} survey --target FILE.py:GRAPH"


@pytest.mark.parametrize(("scheme", "width", "names"), SCREENS, ids=["light", "dark"])
def test_every_page_is_accessible(
    browser: Browser, served: Served, scheme: str, width: int, names: Sequence[str]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    screen = {"width": width, "height": 900}
    with visit(browser, served, color_scheme=scheme, viewport=screen) as window:
        for name in names:
            window.go(PAGES[name])
            if name == "problem":
                (problem,) = window.problems
                assert "status of 404" in problem
                window.problems.clear()
            if name == "step":
                window.page.locator("summary", has_text="messages").click()
                window.page.locator(".inside summary").first.wait_for()
            found = axe.run(window.page, options={"resultTypes": ["violations"]}).response
            told = [
                (each["id"], [node["html"][:200] for node in each["nodes"]][:3])
                for each in found["violations"]
            ]
            assert told == [], name
            shown = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert window.page.evaluate(shown), f"{name} scrolls sideways at {width}"
            assert window.page.locator("h1").count() == 1
            assert window.page.locator("main").count() == 1


def test_the_keyboard_is_enough(browser: Browser, served: Served) -> None:
    with visit(browser, served) as window:
        page = window.page
        window.go("/step?run=big&at=1")
        focused: Callable[[], str] = lambda: page.evaluate("document.activeElement.innerText")  # noqa: E731
        page.keyboard.press("Tab")
        assert focused() == "Skip to the content"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        page.locator("summary").first.focus()
        assert focused().startswith("rows")
        page.keyboard.press("ArrowRight")
        page.locator(".inside .more a").wait_for()
        page.keyboard.press("ArrowDown")
        assert focused().startswith("0")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")  # there is nothing above
        assert focused().startswith("rows")
        page.locator(".inside .more a").focus()
        page.keyboard.press("Enter")
        page.locator("summary", has_text="150").first.wait_for()
        page.wait_for_function("document.activeElement.innerText.startsWith('100')")
        page.keyboard.press("ArrowLeft")
        assert focused().startswith("rows")
        page.keyboard.press("ArrowLeft")
        assert not page.locator(".inside .more a").is_visible()
        page.keyboard.press("ArrowDown")
        assert focused().startswith("long")
        page.keyboard.press("Enter")
        page.locator("pre.text").wait_for()


def test_a_long_text_is_loaded_bit_by_bit(browser: Browser, served: Served) -> None:
    with visit(browser, served) as window:
        window.go("/step?run=big&at=1")
        window.page.locator("summary", has_text="long").click()
        texts = window.page.locator("pre.text")
        texts.first.wait_for()
        while window.page.locator(".more a", has_text="left").count():
            before = texts.count()
            window.page.locator(".more a", has_text="left").click()
            texts.nth(before).wait_for()
        assert "".join(texts.all_text_contents()) == "line\n" * 9_000


def test_a_line_that_is_opened_before_the_script_is_there_is_loaded_by_it(
    browser: Browser, served: Served
) -> None:
    with visit(browser, served) as window:
        page = window.page
        held: list[Route] = []
        page.route("**/hive.js", lambda route: held.append(route))  # noqa: PLW0108 (it is wrapped)
        page.goto(served.base + "/step?run=big&at=1", wait_until="commit")
        page.locator("summary", has_text="rows").click()
        page.get_by_role("link", name="open rows on a page of its own").wait_for()
        assert page.locator(".inside").count() == 0
        held[0].continue_()
        page.locator(".inside summary").first.wait_for()


def test_a_line_that_cannot_be_loaded_says_so_and_can_be_tried_again(
    browser: Browser, served: Served
) -> None:
    with visit(browser, served) as window:
        window.go("/step?run=big&at=1")
        window.page.route("**/parts?*", lambda route: route.abort())
        window.page.locator("summary", has_text="rows").click()
        window.page.locator(".not-loaded").wait_for()
        window.page.unroute("**/parts?*")
        window.page.locator("summary", has_text="rows").click()
        window.page.locator("summary", has_text="rows").click()
        window.page.locator(".inside summary").first.wait_for()
        assert window.page.locator(".not-loaded").count() == 0
        window.problems.clear()  # the request that was stopped on purpose


def test_pages_work_without_scripts(browser: Browser, served: Served) -> None:
    with visit(browser, served, java_script_enabled=False) as window:
        page = window.page
        window.follow(page.get_by_role("link", name="big"))
        window.follow(page.get_by_role("link", name="1", exact=True))
        page.locator("summary", has_text="rows").click()
        window.follow(page.get_by_role("link", name="open rows on a page of its own"))
        window.follow(page.get_by_role("link", name="Show more"))
        page.locator("summary", has_text="150").first.click()
        window.follow(page.get_by_role("link", name="open 150 on"))
        assert "150" in page.get_by_role("main").inner_text()


def test_two_steps_are_chosen_and_compared(browser: Browser, served: Served) -> None:
    with visit(browser, served) as window:
        window.go("/run?name=survey")
        window.page.get_by_label("Compare from step 15").check()
        window.page.get_by_label("Compare to step 18").check()
        window.follow(window.page.get_by_role("button", name="Compare the two"))
        main = window.page.get_by_role("main").inner_text()
        assert "step 15" in main
        assert "step 18" in main
        assert window.page.locator(".change").count() >= 3


def test_a_timeline_says_that_its_run_went_on(browser: Browser, served: Served) -> None:
    with visit(browser, served) as window:
        window.page.clock.install()
        window.go("/run?name=branches")
        with Repository.open(served.home) as repository:
            repository.commit("branches", {"n": "more"})
        window.page.clock.run_for(5_000)
        window.follow(window.page.get_by_role("link", name="Show its newest steps"))
        window.page.get_by_role("table").get_by_role("link", name="7", exact=True).wait_for()


@pytest.mark.parametrize("name", HOSTILE[1:3], ids=ascii)
def test_names_and_values_stay_text(browser: Browser, served: Served, name: str) -> None:
    with visit(browser, served) as window:
        from urllib.parse import quote

        window.go(f"/run?name={quote(name, safe='')}")
        steps = window.page.get_by_role("table")
        window.follow(steps.get_by_role("link", name="1", exact=True))
        lines = window.page.locator(".tree > li > details").all()
        assert len(lines) >= 3
        for line in lines:
            line.locator("summary").first.click()
            # What is loaded pushes the lines below down: a click meanwhile would miss them.
            line.locator(".inside").first.wait_for()
        assert window.page.locator("img, iframe, script:not([src])").count() == 0
        window.go(f"/diff?run={quote(name, safe='')}&at=2&from=1")
        assert window.page.locator(".change").count() >= 1


# Neighbours


class Neighbour(http.server.BaseHTTPRequestHandler):
    """Another server of this machine, with a page that links to whatever its query names."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        target = self.path.partition("?")[2]
        self.wfile.write(f'<title>n</title><a href="{target}">link</a>'.encode())

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture(scope="module")
def neighbour() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Neighbour)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_another_port_reads_nothing(
    browser: Browser, served: Served, neighbour: str
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(served.link)
    page.wait_for_url(served.base + "/")
    page.goto(f"{neighbour}/?{served.base}/run%3Fname=survey")
    # Ports do not part cookies or sites: the request would carry the cookie.
    read = (
        "address => fetch(address, {credentials: 'include'})"
        ".then(answer => answer.text(), error => 'refused')"
    )
    assert page.evaluate(read, f"{served.base}/run?name=survey") == "refused"
    framed = page.evaluate(
        "address => new Promise(done => { const frame = document.createElement('iframe');"
        "frame.onload = () => { try { done(frame.contentDocument?.body.innerText ?? 'closed') }"
        "catch { done('closed') } }; frame.src = address; document.body.append(frame); })",
        f"{served.base}/run?name=survey",
    )
    assert framed == "closed"
    page.goto(f"{neighbour}/?{served.base}/run")
    page.get_by_role("link").click()
    page.get_by_text("Another site asked for this page").wait_for()
    context.close()


def test_the_link_works_from_another_page(browser: Browser, served: Served, neighbour: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{neighbour}/?{served.link}")
    page.get_by_role("link").click()
    page.wait_for_url(served.base + "/")
    page.get_by_role("heading", name="Runs").wait_for()
    context.close()


def test_a_foreign_name_for_this_address_gets_nowhere(browser: Browser, served: Served) -> None:
    context = browser.new_context()
    page = context.new_page()
    rebound = served.link.replace("127.0.0.1", "evil.example")
    answer = page.goto(rebound)
    assert answer is not None
    assert answer.status == 421
    assert context.cookies() == []
    context.close()
