"""Weigh the words of documents against each other, link alike documents, find the central ones.

Plain Python on purpose: the demo shows the store, not a numerical library. All sums run in a fixed
order, so the same documents give the same bits on every machine.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["Link", "central", "link", "weigh"]

Link = tuple[str, str, float]
"""Two documents, the lesser path first, and the cosine of the angle between their weights."""

TERMS_PER_DOCUMENT: Final = 48
LINKS_PER_DOCUMENT: Final = 5
MIN_COSINE: Final = 0.03
DAMPING: Final = 0.85
ROUNDS: Final = 40


def weigh(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, float]]:
    """Give each document its strongest terms by tf-idf, scaled to length 1, strongest first.

    Args:
        counts: For each document how often each word occurs in it.
    """
    documents_with: Counter[str] = Counter()
    for terms in counts.values():
        documents_with.update(terms.keys())
    weights: dict[str, dict[str, float]] = {}
    for document, terms in counts.items():
        raw = {
            term: (1 + math.log(count)) * math.log((1 + len(counts)) / documents_with[term])
            for term, count in terms.items()
        }
        top = sorted(raw.items(), key=lambda item: (-item[1], item[0]))[:TERMS_PER_DOCUMENT]
        length = math.sqrt(math.fsum(weight * weight for _, weight in top)) or 1.0
        weights[document] = {term: round(weight / length, 6) for term, weight in top}
    return weights


def link(weights: Mapping[str, Mapping[str, float]]) -> list[Link]:
    """Link each document with the few most like it; strongest links first."""
    holders: dict[str, list[tuple[str, float]]] = {}
    for document, terms in weights.items():
        for term, weight in terms.items():
            holders.setdefault(term, []).append((document, weight))
    kept: dict[tuple[str, str], float] = {}
    for document, terms in weights.items():
        cosines: dict[str, float] = {}
        for term, weight in terms.items():
            for other, other_weight in holders[term]:
                if other != document:
                    cosines[other] = cosines.get(other, 0.0) + weight * other_weight
        nearest = sorted(cosines.items(), key=lambda item: (-item[1], item[0]))
        for other, cosine in nearest[:LINKS_PER_DOCUMENT]:
            if cosine >= MIN_COSINE:
                pair = (document, other) if document < other else (other, document)
                # Seen from its other end, a sum of the same products in another order may differ
                # in the last bit; rounding removes that before it can reach the report.
                kept[pair] = round(cosine, 6)
    return sorted(
        ((a, b, cosine) for (a, b), cosine in kept.items()),
        key=lambda found: (-found[2], found[0], found[1]),
    )


def central(documents: Sequence[str], links: Sequence[Link]) -> dict[str, float]:
    """Score documents by PageRank over the weighted links; most central first, scores sum to 1."""
    if not documents:
        return {}
    neighbours: dict[str, list[tuple[str, float]]] = {document: [] for document in documents}
    for a, b, cosine in links:
        neighbours[a].append((b, cosine))
        neighbours[b].append((a, cosine))
    strength = {
        document: math.fsum(cosine for _, cosine in found) for document, found in neighbours.items()
    }
    count = len(documents)
    scores = dict.fromkeys(documents, 1 / count)
    for _ in range(ROUNDS):
        # What unlinked documents hold is spread over all, so that the scores keep their sum.
        loose = math.fsum(scores[document] for document in documents if not neighbours[document])
        floor = (1 - DAMPING + DAMPING * loose) / count
        scores = {
            document: floor
            + DAMPING
            * math.fsum(scores[other] * cosine / strength[other] for other, cosine in found)
            for document, found in neighbours.items()
        }
    ranked = sorted(scores.items(), key=lambda item: (-round(item[1], 6), item[0]))
    return {document: round(score, 6) for document, score in ranked}
