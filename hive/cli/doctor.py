"""``hive doctor``: is everything around the store as it should be?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from hive.cli.failures import FAILED
from hive.cli.options import HomeOption, JsonOption, home_of
from hive.cli.output import line, styled, write_json
from hive.cli.text import escape

if TYPE_CHECKING:
    from hive.cli.store_shapes import DoctorJson

__all__ = ["doctor"]

_MARKS: Final = {
    "ok": ("ok", "green"),
    "note": ("note", "cyan"),
    "warning": ("WARN", "yellow"),
    "error": ("ERROR", "red"),
}


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look for what may go wrong around the store.

    That is permissions, the disk, the file system, readers and other programs. It changes
    nothing, and works where the store does not open. `hive check` looks for damage inside the
    store. Exit code 1 means that there is a warning or an error.
    """
    from hive.diagnosis import diagnose

    place = home_of(home)
    findings = diagnose(
        place,
        default_home=_default_home(),
        named_home=None if home is None else str(home),
    )
    bad = any(finding.level in ("warning", "error") for finding in findings)
    if as_json:
        report: DoctorJson = {
            "home": str(place),
            "ok": not bad,
            "findings": [
                {"name": finding.name, "level": finding.level, "text": finding.text}
                for finding in findings
            ],
        }
        write_json(report)
    else:
        for finding in findings:
            mark, colour = _MARKS[finding.level]
            line(f"{styled(f'{mark:<5}', colour)}  {escape(finding.name)}: {escape(finding.text)}")
    if bad:
        raise typer.Exit(FAILED)


def _default_home() -> Path | None:
    user = os.environ.get("HOME", "")  # noqa: TID251  the command line may read it
    return Path(user) / ".hive" if os.path.isabs(user) else None
