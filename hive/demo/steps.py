"""The steps of the survey: each takes a part of the state and returns what it adds to it.

A step reads nothing but its arguments and the files of the folder, so a survey that was killed and
resumed must end exactly as one that ran through.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any, Final

from hive.demo.files import Limits, UnreadableError, find_files, read_document
from hive.demo.index import Link, central, link, weigh
from hive.demo.report import DOCUMENTS_SUMMARISED, summarise_document, write_report
from hive.demo.text import split_pieces, title_of, words

__all__ = ["find", "index", "rank", "read", "report", "summarise"]

READS: Final = 8
"""The files are read in about so many steps, to show a loop and a growing state."""

State = dict[str, Any]


def find(
    *,
    folder: str,
    skip: list[str] | None = None,
    max_files: int | None = None,
    max_bytes: int | None = None,
) -> State:
    """List the files to read. Missing limits are the usual ones; missing input is None."""
    limits = Limits(
        max_files=Limits.max_files if max_files is None else max_files,
        max_bytes=Limits.max_bytes if max_bytes is None else max_bytes,
    )
    place = Path(folder).resolve()
    found = find_files(place, limits=limits, skip=[Path(path) for path in skip or ()])
    return {
        "folder": str(place),
        "files": [path for path, _ in found.files],
        "left_out": found.left_out,
        "unread": len(found.files),
        "documents": {},
        "pieces": [],
    }


def read(
    *,
    folder: str,
    files: list[str],
    unread: int,
    left_out: dict[str, int],
    documents: dict[str, State],
    pieces: list[State],
) -> State:
    """Read the next few files and split them into pieces."""
    start = len(files) - unread
    batch = files[start : start + max(1, math.ceil(len(files) / READS))]
    left_out, documents, pieces = dict(left_out), dict(documents), list(pieces)
    for path in batch:
        try:
            document = read_document(Path(folder), path, max_file_bytes=Limits.max_file_bytes)
        except UnreadableError as error:
            left_out[error.reason] = left_out.get(error.reason, 0) + 1
            continue
        split = split_pieces(document.text)
        documents[path] = {
            "title": title_of(document.text),
            "size_bytes": document.size_bytes,
            "digest": document.digest,
            "pieces": len(split),
        }
        pieces += [
            {"document": path, "heading": piece.heading, "text": piece.text} for piece in split
        ]
    return {
        "unread": unread - len(batch),
        "left_out": left_out,
        "documents": documents,
        "pieces": pieces,
    }


def index(*, documents: dict[str, State], pieces: list[State]) -> State:
    """Count the words of each document and weigh them."""
    counts: dict[str, Counter[str]] = {path: Counter() for path in documents}
    for piece in pieces:
        counts[piece["document"]].update(words(piece["text"]))
    return {
        "weights": weigh(counts),
        "vocabulary": len(set().union(*counts.values())),
    }


def rank(*, documents: dict[str, State], weights: dict[str, dict[str, float]]) -> State:
    """Link documents that are alike and find the central ones."""
    links = link(weights)
    return {"links": links, "centrality": central(list(documents), links)}


def summarise(
    *,
    pieces: list[State],
    weights: dict[str, dict[str, float]],
    centrality: dict[str, float],
) -> State:
    """Pick the sentences that stand for each of the central documents."""
    texts: dict[str, list[str]] = {path: [] for path in list(centrality)[:DOCUMENTS_SUMMARISED]}
    for piece in pieces:
        if piece["document"] in texts:
            texts[piece["document"]].append(piece["text"])
    return {
        "summaries": {
            path: summarise_document(found, weights[path]) for path, found in texts.items()
        }
    }


def report(
    *,
    folder: str,
    documents: dict[str, State],
    left_out: dict[str, int],
    vocabulary: int,
    weights: dict[str, dict[str, float]],
    links: list[Link],
    centrality: dict[str, float],
    summaries: dict[str, list[str]],
) -> State:
    """Write the page."""
    return {
        "report": write_report(
            name=Path(folder).name or folder,
            documents=documents,
            left_out=left_out,
            vocabulary=vocabulary,
            weights=weights,
            links=links,
            centrality=centrality,
            summaries=summaries,
        )
    }
