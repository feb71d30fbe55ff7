"""Write the survey as a Markdown page, and pick the sentences that stand for a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hive.demo.index import Link
from hive.demo.text import sentences, words

__all__ = ["DOCUMENTS_SUMMARISED", "summarise_document", "write_report"]

SENTENCES: Final = 2
DOCUMENTS_SUMMARISED: Final = 30
LINKS_SHOWN: Final = 15


def summarise_document(texts: Sequence[str], weights: Mapping[str, float]) -> list[str]:
    """Return the few sentences that carry most of a document's own terms, in reading order.

    Args:
        texts: The document's pieces.
        weights: The document's terms with their weights.
    """
    scored: list[tuple[float, int, str]] = []
    seen: set[str] = set()
    for text in texts:
        for sentence in sentences(text):
            if sentence in seen:
                continue
            seen.add(sentence)
            found = words(sentence)
            score = sum(weights.get(word, 0.0) for word in sorted(set(found)))
            # Divided by the root, neither the longest nor the shortest sentence always wins.
            scored.append((score / max(len(found), 4) ** 0.5, len(scored), sentence))
    best = sorted(scored, key=lambda item: (-item[0], item[1]))[:SENTENCES]
    return [sentence for _, _, sentence in sorted(best, key=lambda item: item[1])]


def write_report(
    *,
    name: str,
    documents: Mapping[str, Mapping[str, Any]],
    left_out: Mapping[str, int],
    vocabulary: int,
    weights: Mapping[str, Mapping[str, float]],
    links: Sequence[Link],
    centrality: Mapping[str, float],
    summaries: Mapping[str, Sequence[str]],
) -> str:
    """Return the report: a pure function of the survey, so equal surveys give equal bytes."""
    size = sum(document["size_bytes"] for document in documents.values())
    pieces = sum(document["pieces"] for document in documents.values())
    lines = [
        f"# A survey of {_inline(name)}",
        "",
        f"{len(documents):,} documents, {size:,} bytes, {pieces:,} pieces, "
        f"{vocabulary:,} different words, {len(links):,} links.",
    ]
    if left_out:
        lines += ["", "Left out:", ""]
        lines += [f"- {count:,} {_inline(reason)}" for reason, count in sorted(left_out.items())]
    lines += ["", "## The central documents", ""]
    for place, (path, score) in enumerate(centrality.items(), start=1):
        if place > DOCUMENTS_SUMMARISED:
            break
        lines += [
            f"{place}. **{_inline(path)}** ({score:.4f}): {_inline(documents[path]['title'])}"
        ]
        lines += [f"   > {_inline(sentence)}" for sentence in summaries.get(path, ())]
        lines += [f"   Words: {', '.join(list(weights[path])[:8])}"]
    if not centrality:
        lines += ["No text files were found."]
    lines += ["", "## The strongest links", ""]
    lines += [
        f"- {cosine:.3f}  {_inline(a)} -- {_inline(b)}" for a, b, cosine in links[:LINKS_SHOWN]
    ]
    if not links:
        lines += ["None."]
    return "\n".join(lines) + "\n"


def _inline(text: str) -> str:
    """Keep a foreign text on one line and without control characters."""
    return "".join(character if character.isprintable() else " " for character in text)
