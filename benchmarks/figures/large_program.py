"""The process whose memory is measured while it saves or restores a large state.

Arguments: ``save`` or ``restore``, the store, how many texts, and the bytes of each. It prints what
it measured.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import MemoryPeak, anonymous_bytes
from benchmarks.text import TextSource
from manifests import Repository

__all__: list[str] = []

_SENTENCES = 40_000
_SLICE = 2**20


def _pool(size: int) -> list[str]:
    """Return sentences to make texts of: drawing each word of a gigabyte would take minutes.

    They are ASCII, of which Python holds one byte a character; one emoji makes a text of 64 MB
    take 256.
    """
    source = TextSource("large")
    return [
        source.sentence().encode("ascii", "ignore").decode() + " "
        for _ in range(min(_SENTENCES, size // 50))
    ]


def _text(pool: list[str], seed: str, size: int) -> str:
    rng = random.Random(seed)
    parts: list[str] = []
    length = 0
    while length < size:
        parts += rng.choices(pool, k=1_000)
        length += sum(map(len, parts[-1_000:]))
    return "".join(parts)[:size]


def _digest(text: str) -> str:
    """Return a digest of a text, taken in slices: encoding it whole would double it."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(text), _SLICE):
        digest.update(text[start : start + _SLICE].encode())
    return digest.hexdigest()


def _save(home: Path, texts: int, size: int) -> dict[str, Any]:
    before = anonymous_bytes()
    pool = _pool(size)
    state = {"texts": [_text(pool, f"text {number}", size) for number in range(texts)]}
    with Repository.open(home) as repository, MemoryPeak() as peak:
        start = time.perf_counter()
        repository.commit("large", state)
        first = time.perf_counter() - start
        state["texts"][texts // 2] = ""
        state["texts"][texts // 2] = _text(pool, "another text", size)
        start = time.perf_counter()
        repository.commit("large", state)
        second = time.perf_counter() - start
    return {
        "first_seconds": first,
        "second_seconds": second,
        "peak_bytes": peak.bytes - before,
        "digests": [_digest(text) for text in state["texts"]],
    }


def _restore(home: Path) -> dict[str, Any]:
    before = anonymous_bytes()
    with Repository.open(home) as repository, MemoryPeak() as peak:
        start = time.perf_counter()
        state = repository.restore("large")
        seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak_bytes": peak.bytes - before,
        "digests": [_digest(text) for text in state["texts"]],
    }


def _main(task: str, home: str, texts: str, size: str) -> None:
    if task == "save":
        report = _save(Path(home), int(texts), int(size))
    else:
        report = _restore(Path(home))
    print(json.dumps(report))


if __name__ == "__main__":
    _main(*sys.argv[1:])
