"""``python -m benchmarks``: measures, prints tables, writes JSON and a plot."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks import figures, peers, workloads
from benchmarks.report import full_report
from benchmarks.results import Results
from benchmarks.runner import Plan, run_plan

__all__ = ["main"]

_HERE: Final = Path(__file__).resolve().parent
_IN_MEMORY: Final = ("tmpfs", "ramfs")
_COPIED_STEPS: Final = 100


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args(arguments)
    if options.read is not None:
        results = Results.read(options.read)
    else:
        results = _measure(options)
    print(full_report(results))
    _draw(results, options.output)
    if options.publish:
        from benchmarks.publish import publish

        publish(results)
    return 0


def _measure(options: argparse.Namespace) -> Results:
    folder = options.folder / "stores"
    output = options.output / "latest.json"
    plan = Plan(
        folder=folder,
        workloads=options.workloads,
        peers=options.peers,
        figures=options.figures,
        rounds=options.rounds or (1 if options.quick else 3),
        limit_copies=_COPIED_STEPS if options.quick or options.budget is not None else None,
        minutes=options.budget,
        tiny=options.tiny,
    )
    shutil.rmtree(folder, ignore_errors=True)
    try:
        results = run_plan(plan, say=_say, keep=lambda results: results.save(output))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if results.about["file_system"] in _IN_MEMORY:
        _say(f"{folder} is in memory, where syncing costs nothing: name a disk with --folder")
    return results


def _draw(results: Results, output: Path) -> None:
    from benchmarks.plot import draw

    try:
        draw(results, output / "bytes-and-save-time.png")
    except ModuleNotFoundError as error:
        _say(f"no plot: {error.name} is not installed")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    lists = (
        ("workloads", workloads.NAMES),
        ("peers", peers.NAMES),
        ("figures", figures.NAMES),
    )
    for name, known in lists:
        parser.add_argument(
            f"--{name}",
            type=_list_of(known),
            default=known,
            metavar="NAMES",
            help=f"comma-separated, or none; of: {', '.join(known)}",
        )
    parser.add_argument("--rounds", type=int, help="how often to measure (3; 1 with --quick)")
    reckoned = f"{_COPIED_STEPS} steps of stores that copy everything, the rest reckoned"
    parser.add_argument("--quick", action="store_true", help=f"one round; {reckoned}")
    parser.add_argument(
        "--budget",
        type=float,
        metavar="MINUTES",
        help=f"begin nothing that would take longer, what matters least is left out; {reckoned}",
    )
    parser.add_argument("--tiny", action="store_true", help="as small as the tests")
    parser.add_argument(
        "--folder", type=Path, default=_HERE / "results", help="where the stores are made: a disk"
    )
    parser.add_argument(
        "--output", type=Path, default=_HERE / "results", help="where JSON and plot go"
    )
    parser.add_argument("--read", type=Path, help="measure nothing, show the results in this file")
    parser.add_argument(
        "--publish", action="store_true", help="put the results into docs/performance.md"
    )
    return parser


def _list_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(name for name in text.split(",") if name and name != "none")
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}")
        return names

    return parse


if __name__ == "__main__":
    sys.exit(main())
