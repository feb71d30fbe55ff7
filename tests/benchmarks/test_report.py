"""Results, limits, tables, the plot and the command line."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.floor import Floor
from benchmarks.publish import DOCUMENT, PUBLISHED, document_with
from benchmarks.report import full_report, workload_table
from benchmarks.results import NAN, Figure, Measured, Results
from benchmarks.targets import Target, check_targets


def measured(peer: str, number: int = 0, **values: float) -> Measured:
    """A store on chat-1000."""
    item = Measured("chat-1000", peer, number, steps=1_000)
    for name, value in values.items():
        setattr(item, name, value)
    return item


def some_results() -> Results:
    """Three rounds, of which the second was disturbed."""
    results = Results(
        about={"cpus": 2, "system": "Linux", "file_system": "ext4", "python": "3.11",
               "packages": {"lmdb": "3.0.0"}, "rounds": 3, "seconds": 90},
        titles={"chat-1000": "chat, 1000 turns"},
        figures=[Figure("cpu-scalar", "one scalar", 0.5, "x dumps")],
        skipped={"git": "pygit2 is not installed"},
    )  # fmt: skip
    for number, slow in enumerate((1.0, 10.0, 1.0)):
        floor = Floor("chat-1000", number, unique_bytes=2_400, zstd_bytes=1_000)
        floor.commit_early_ms = floor.commit_late_ms = 0.5 * slow
        floor.dumps_late_ms, floor.loads_latest_ms, floor.loads_middle_ms = 6.0, 5.0, 2.5
        results.floors.append(floor)
        for peer, late in (("hive", 2.0), ("hive-trusted", 1.0), ("langgraph-delta", 1.25)):
            results.measured.append(
                measured(
                    peer,
                    number,
                    early_p50=late * slow,
                    late_p50=late * slow,
                    load_latest=15.0,
                    load_middle=12.5,
                    load_again=10.0,
                    saved_bytes=2_000,
                    compact_bytes=1_700 if peer.startswith("hive") else NAN,
                )
            )
    results.measured.append(measured("langgraph", late_p50=70.0, saved_bytes=9e6))
    results.measured[-1].limited_to = 100
    results.measured[0].series.append((1_000, 2_000, 2.0))
    return results


def verdict(results: Results, text: str) -> tuple[str, float]:
    """The verdict on the limit whose text begins so, and what was measured."""
    found = [item for item in check_targets(results) if item.text.startswith(text)]
    assert len(found) == 1, [item.text for item in found]
    return found[0].verdict, found[0].value


def test_limits_are_judged_by_medians_of_ratios_within_rounds() -> None:
    results = some_results()
    assert verdict(results, "chat-1000, after compact, to the zstd-3") == ("fail", 1.7)
    assert verdict(results, "chat-1000, before, to the zstd-3") == ("pass", 2.0)
    name = "chat-1000, late, to DeltaChannel, with changed= and trust"
    assert verdict(results, name) == ("pass", 0.8)
    assert verdict(results, "chat-1000, latest, to cbor2.loads") == ("pass", 3.0)
    assert verdict(results, "chat-1000, middle, to cbor2.loads") == ("fail", 5.0)
    assert verdict(results, "one scalar beside 10,000 messages") == ("pass", 0.5)


def test_what_was_not_measured_is_neither_kept_nor_missed() -> None:
    for target in check_targets(Results()):
        assert target.verdict == "-"
        assert math.isnan(target.value)


@pytest.mark.parametrize(
    ("value", "at_least", "expected"),
    [(1, False, "pass"), (1.01, False, "fail"), (1, True, "pass"), (0.99, True, "fail")],
)
def test_a_limit_is_inclusive(value: float, at_least: bool, expected: str) -> None:
    assert Target("topic", "text", value, 1, at_least=at_least).verdict == expected


def test_a_store_measured_once_is_compared_with_every_round() -> None:
    results = some_results()
    ratio = results.ratio(
        "chat-1000", "hive", lambda item: item.late_p50, "langgraph", lambda item: item.late_p50
    )
    assert ratio == pytest.approx(2 / 70)


def test_results_survive_json(tmp_path: Path) -> None:
    results = some_results()
    path = tmp_path / "results.json"
    results.save(path)
    again = Results.read(path)
    assert full_report(again) == full_report(results)
    assert again.measured[-1].limited_to == 100
    assert again.measured[0].limited_to is None
    assert math.isnan(again.measured[2].compact_bytes)
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == path.read_text()


def test_a_table_has_a_row_for_each_store_and_marks_what_was_reckoned() -> None:
    text = workload_table(some_results(), "chat-1000")
    rows = [line for line in text.splitlines() if line.startswith("| LangGraph SqliteSaver")]
    assert len(rows) == 2
    assert "~9,000" in rows[0]
    assert "~9 " in rows[1]
    assert "limited_to" in text
    assert len({len(line) for line in text.splitlines()[:4]}) == 1


def test_a_report_says_what_was_not_measured() -> None:
    assert "Not measured: git (pygit2 is not installed)" in full_report(some_results())


def test_a_document_keeps_what_is_around_the_tables() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    once = document_with(some_results(), text)
    assert once.startswith(text[:100])
    assert "chat, 1000 turns".capitalize() in once
    assert document_with(some_results(), once) == once
    with pytest.raises(ValueError, match="begin"):
        document_with(some_results(), "no marks")


def test_the_published_tables_are_those_of_the_published_numbers() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document_with(Results.read(PUBLISHED), text) == text


def test_the_command_line_measures_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tiny", "--rounds", "1", "--workloads", "chat-1000", "--peers", "hive,cbor-files"]
    options += ["--figures", "none", "--folder", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "| CBOR files, fsync" in printed
    saved = Results.read(tmp_path / "out" / "latest.json")
    assert {item.peer for item in saved.measured} == {"hive", "cbor-files"}
    assert not (tmp_path / "stores").exists()
    assert main(["--read", str(tmp_path / "out" / "latest.json"), "--output", str(tmp_path)]) == 0
    assert capsys.readouterr().out == printed


def test_the_command_line_refuses_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--peers", "hive,nonsense"])
    assert "no nonsense" in capsys.readouterr().err


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    from benchmarks.plot import draw

    draw(some_results(), tmp_path / "images" / "plot.png")
    assert (tmp_path / "images" / "plot.png").read_bytes().startswith(b"\x89PNG")
