from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from hive.demo.index import central, link, weigh
from hive.demo.report import summarise_document, write_report
from hive.demo.text import MAX_PIECE_CHARS, sentences, split_pieces, title_of, words

TEXT = """# Bees

Bees gather nectar from flowers in the whole valley. They dance to tell others where.

## Hives

A hive keeps honey through the long winter months.
"""

lines = st.text(st.sampled_from("abcXYZ .!?#\n\n\t\x0c\u2028é-*"), max_size=400)


def test_sections_become_pieces_with_their_heading() -> None:
    pieces = split_pieces(TEXT)
    assert [piece.heading for piece in pieces] == ["Bees", "Hives"]
    assert pieces[1].text.endswith("winter months.")


def test_definitions_are_headings_of_source_files() -> None:
    source = "import os\n\n\nclass Hive:\n    x = 1\n\n\nasync def swarm():\n    pass\n"
    assert [piece.heading for piece in split_pieces(source)] == ["", "class Hive", "def swarm"]


@given(lines)
def test_pieces_hold_every_line_in_order(text: str) -> None:
    joined = "\n".join(piece.text for piece in split_pieces(text))
    kept = [line.strip() for line in joined.split("\n") if line.strip()]
    assert kept == [line.strip() for line in text.splitlines() if line.strip()]


def test_no_piece_is_longer_than_the_limit() -> None:
    text = "word " * 5_000 + "\n" + "\n".join("row" for _ in range(5_000))
    pieces = split_pieces(text)
    assert len(pieces) > 5
    assert max(len(piece.text) for piece in pieces) <= MAX_PIECE_CHARS


def test_sentences_are_prose_only() -> None:
    assert sentences(TEXT)[:2] == [
        "Bees gather nectar from flowers in the whole valley.",
        "They dance to tell others where.",
    ]
    assert sentences("for x in range(10): y = {x: x ** 2} if x else None; print(y).") == []


def test_titles() -> None:
    assert title_of(TEXT) == "Bees"
    assert title_of('#!/bin/sh\n"""Count the bees."""\n') == "Count the bees."
    assert title_of("12345\n---\n") == ""


def test_words_are_folded_and_common_ones_dropped() -> None:
    assert words("The BEES and the bees_of 42 Straße") == ["bees", "bees", "strasse"]


COUNTS = {
    "a": {"bees": 3, "honey": 1, "common": 1},
    "b": {"bees": 1, "honey": 2, "common": 1},
    "c": {"rocks": 5, "common": 1},
}


def test_weights_are_unit_vectors_that_favour_rare_words() -> None:
    weights = weigh(COUNTS)
    for terms in weights.values():
        assert math.isclose(sum(weight**2 for weight in terms.values()), 1, abs_tol=1e-5)
    assert weights["c"]["rocks"] > 5 * weights["c"]["common"]


def test_like_documents_are_linked_and_central() -> None:
    links = link(weigh(COUNTS))
    assert (links[0][0], links[0][1]) == ("a", "b")
    scores = central(["a", "b", "c"], links)
    assert math.isclose(sum(scores.values()), 1, abs_tol=1e-5)
    assert list(scores)[-1] == "c"


def test_nothing_comes_of_no_documents() -> None:
    assert weigh({}) == {}
    assert link({}) == []
    assert central([], []) == {}


def test_the_order_of_documents_changes_no_number() -> None:
    backwards = {name: COUNTS[name] for name in reversed(COUNTS)}
    assert link(weigh(backwards)) == link(weigh(COUNTS))
    assert central(["c", "b", "a"], link(weigh(COUNTS))) == central(
        ["a", "b", "c"], link(weigh(COUNTS))
    )


def test_a_summary_is_the_weightiest_sentences_in_reading_order() -> None:
    summary = summarise_document([TEXT], {"honey": 1.0, "nectar": 0.5})
    assert summary == [
        "Bees gather nectar from flowers in the whole valley.",
        "A hive keeps honey through the long winter months.",
    ]


def test_the_report_of_an_empty_folder() -> None:
    report = write_report(
        name="nothing",
        documents={},
        left_out={"not text": 2},
        vocabulary=0,
        weights={},
        links=[],
        centrality={},
        summaries={},
    )
    assert "No text files were found." in report
    assert "- 2 not text" in report


def test_foreign_names_stay_on_their_line_of_the_report() -> None:
    report = write_report(
        name="evil\n# heading\x1b[2J",
        documents={"a\nb": {"title": "t\x07", "size_bytes": 1, "pieces": 1}},
        left_out={},
        vocabulary=1,
        weights={"a\nb": {"word": 1.0}},
        links=[],
        centrality={"a\nb": 1.0},
        summaries={},
    )
    assert report.startswith("# A survey of evil # heading [2J\n")
    assert "\x1b" not in report
    assert "\x07" not in report
    assert "1. **a b** (1.0000): t \n" in report
