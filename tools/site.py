"""``python -m tools.site DIR``: build the documentation as a web site.

The pages are those of ``docs``, with the README as the first one, CONTRIBUTING.md, CHANGELOG.md and
the API reference, which is made from the code. The build is strict: a link that leads nowhere fails
it. The site asks for nothing from elsewhere: no fonts, scripts or analytics of others.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tools.api import api_page

__all__ = ["build", "main"]

ROOT: Final = Path(__file__).resolve().parent.parent
FIRST: Final = ("index.md", "tutorial.md", "cli.md", "faq.md")
INSIDE: Final = (
    *("architecture.md", "format.md", "performance.md"),
    *("security.md", "contributing.md", "changelog.md"),
)
"""Pages for those who want to know how it works; whatever else lies in ``docs`` is a guide."""
SETTINGS: Final[dict[str, Any]] = {
    "site_name": "Hive",
    "theme": {"name": "mkdocs", "highlightjs": False, "color_mode": "auto"},
    "plugins": ["search"],
    "use_directory_urls": False,  # the pages can be read as files, without a server
    "markdown_extensions": [{"toc": {"permalink": True}}, "tables", "fenced_code"],
    "validation": {
        "links": {"not_found": "warn", "anchors": "warn", "absolute_links": "warn"},
        "omitted_files": "warn",
    },
}


def main() -> None:
    """Build into the folder named on the command line."""
    build(Path(sys.argv[1]))


def build(site: Path) -> None:
    """Build the site into ``site``; raises ``CalledProcessError`` if anything is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        docs = place / "docs"
        shutil.copytree(ROOT / "docs", docs)
        _add_pages(docs)
        settings = {
            **SETTINGS,
            "docs_dir": str(docs),
            "site_dir": str(site.resolve()),
            "nav": _navigation(docs),
        }
        # JSON is YAML as well.
        (place / "properdocs.yml").write_text(json.dumps(settings), encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "properdocs", "build", "--strict", "--quiet"],
            cwd=place,
            check=True,
        )


def _add_pages(docs: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (docs / "index.md").write_text(_within_docs(readme), encoding="utf-8")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        (docs / name.lower()).write_text(_within_docs(text), encoding="utf-8")
    (docs / "reference" / "api.md").write_text(api_page(), encoding="utf-8")


def _within_docs(text: str) -> str:
    """Return a page of the project's folder with its links as they lead from within ``docs``."""
    text = re.sub(r"\]\(docs/", "](", text)
    text = text.replace("](CONTRIBUTING.md", "](contributing.md")
    text = text.replace("](CHANGELOG.md", "](changelog.md").replace("](decisions)", "](#)")
    # What is no page, such as the licence, is named and not linked.
    return re.sub(r"\[([^\]]+)\]\((?:LICENSE|changelog\.d[^)]*|Makefile|#)\)", r"\1", text)


def _navigation(docs: Path) -> list[Any]:
    pages = sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    top = [page for page in pages if "/" not in page]
    guides = [page for page in top if page not in {*FIRST, *INSIDE}]
    inside: list[Any] = [page for page in INSIDE if page in top]
    inside.insert(3, {"Decisions": [page for page in pages if page.startswith("decisions/")]})
    return [
        *FIRST,
        {"Guides": guides},
        {"Reference": [page for page in pages if page.startswith("reference/")]},
        {"Inside": inside},
    ]


if __name__ == "__main__":
    main()
