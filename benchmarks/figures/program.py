"""The process that measures some figures: ``python -m benchmarks.figures.program NAME FOLDER``.

It prints them as JSON. With ``tiny`` behind the folder it does as little as there is to do.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from benchmarks.figures import measure_figures

__all__: list[str] = []


def _main(name: str, folder: str, *size: str) -> None:
    found = measure_figures(name, Path(folder), tiny=size == ("tiny",))
    print(json.dumps([dataclasses.asdict(figure) for figure in found]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
