"""Changelog fragments, decisions and the site: what whoever carries on relies on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.api import MODULES, api_page, members, public_names
from tools.changelog import fragments, problems, release
from tools.site import build

ROOT = Path(__file__).resolve().parent.parent
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("file", fragments(ROOT / "changelog.d"), ids=lambda file: file.name)
def test_a_changelog_fragment_is_as_its_readme_says(file: Path) -> None:
    assert not problems(file)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("diff.md", "Fine."),
        ("added-Diff.md", "Fine."),
        ("added-diff.md", ""),
        ("added-diff.md", "# Heading"),
        ("added-diff.md", "Two\n\nparagraphs."),
        ("added-diff.md", "x" * 101),
        ("added-diff.md", "words and lines\n" * 50),
    ],
)
def test_what_is_no_changelog_fragment(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert problems(tmp_path / name)


def test_a_release_takes_what_is_unreleased(tmp_path: Path) -> None:
    for name, text in (("fixed-x.md", "It broke.\nIt works."), ("added-y.md", "New.")):
        (tmp_path / name).write_text(text)
    page = "# Changelog\n\n## Unreleased\n\nA note.\n\n## 0.1.0 (2025-12-31)\n\n- Old.\n"
    made = release(page, fragments(tmp_path), "1.0.0", "2026-01-31")
    assert made.splitlines() == [
        *("# Changelog", "", "## Unreleased", "", "A note.", ""),
        *("## 1.0.0 (2026-01-31)", ""),
        *("### Added", "", "- New.", ""),
        *("### Fixed", "", "- It broke.", "  It works.", ""),
        *("## 0.1.0 (2025-12-31)", "", "- Old."),
    ]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_a_decision_is_short_and_has_numbers(page: Path) -> None:
    text = page.read_text()
    assert len(text.splitlines()) <= 60
    assert re.match(rf"# {int(page.name[:4])}\. ", text)
    assert re.search(r"\d", text.split("\n", 1)[1])


def test_no_two_decisions_have_one_number() -> None:
    numbers = [page.name[:4] for page in DECISIONS]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("package", ["cas", "manifests"])
def test_the_architecture_page_names_every_module(package: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.split(f"\n## {package}\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert {file.stem for file in (ROOT / package).glob("[!_]*.py")} <= named


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_documented(module: str) -> None:
    import importlib
    import inspect

    page = api_page()
    for name in public_names(module):
        value = getattr(importlib.import_module(module), name)
        assert f"\n### {module}.{name}\n" in page
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (inspect.getdoc(value) or "").strip(), f"{module}.{name} has no docstring"
        if inspect.isclass(value) and value.__module__.split(".")[0] in ("hive", "manifests"):
            for member, found in members(value):
                function = found.fget if isinstance(found, property) else found
                function = getattr(function, "__func__", function)
                assert inspect.getdoc(function), f"{module}.{name}.{member} has no docstring"


def test_the_site_builds_strictly_and_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    build(tmp_path / "site")
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 12
    foreign = re.compile(
        r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["'](?:https?:)?//""", re.I
    )
    for page in pages:
        assert not foreign.search(page.read_text(encoding="utf-8")), page
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", sheet.read_text()), sheet
