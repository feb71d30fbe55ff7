"""Text that looks and compresses like that of agents: prose, tool output, source code.

Words follow Zipf's law over an invented vocabulary, broken up by what real text has besides words:
names never seen before, numbers, identifiers, letters beyond ASCII. The shares are set so that zstd
at level 3 shrinks whole conversations 2.3 to 2.6 times. Text that compresses worse would flatter a
store: what its layout adds would be a smaller share.

Only ``random.Random`` with a seed is used, whose streams do not change between Python versions.
"""

from __future__ import annotations

import random
from functools import lru_cache
from itertools import accumulate
from typing import Final

__all__ = ["TextSource"]

_COMMON: Final = (
    "the of and to a in is it you that was for on are as with they be at this have from or had by "
    "not but what all were we when your can said there use an each which she do how their if will "
    "up other about out many then them these so some her would make like him into time has look "
    "two more write go see number no way could people my than first been call who its now find "
    "long down day did get come made may part over new sound take only little work know place"
).split()
_ONSETS: Final = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k l m n p ph pl pr qu r s sc sh sl sp st t th tr v"
).split()
_VOWELS: Final = "a e i o u ai ea ee ie io oo ou".split()
_CODAS: Final = "b ck d ft g l ll lt m mp n nd ng nt p r rd rn rt s ss st t th x".split()
_ENDINGS: Final = ("", "", "", "er", "ing", "ed", "tion", "ment", "ly", "al", "ous", "ive", "ness")
_FOREIGN: Final = (
    "naïve", "café", "Zürich", "señor", "façade", "Øresund", "Łódź", "東京", "данные", "σήμα",
    "—", "→", "“so”", "…", "✓", "🙂", "🚀", "½", "€20", "20 °C",
)  # fmt: skip
_VOCABULARY: Final = 8_000
_SHARE_RARE: Final = 0.26


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[list[str], list[float]]:
    """Return the words, most frequent first, and the running sums of their weights."""
    rng = random.Random("vocabulary")
    words = list(_COMMON)
    seen = set(words)
    while len(words) < _VOCABULARY:
        word = _invented(rng)
        if word not in seen:
            seen.add(word)
            words.append(word)
    # Zipf-Mandelbrot: the shift keeps the first few words from being a tenth of the text each.
    return words, list(accumulate(1 / (rank + 2.7) for rank in range(_VOCABULARY)))


def _invented(rng: random.Random) -> str:
    parts = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        parts += [rng.choice(_ONSETS), rng.choice(_VOWELS)]
        if rng.random() < 0.6:
            parts.append(rng.choice(_CODAS))
    return "".join(parts) + rng.choice(_ENDINGS)


class TextSource:
    """A stream of text that depends on the seed only. Sizes are in characters, met within 1 %."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)

    def identifier(self, digits: int = 16) -> str:
        """Return random hex digits."""
        return f"{self.rng.getrandbits(4 * digits):0{digits}x}"

    def words(self, count: int) -> list[str]:
        """Return words of running text, rare ones among them."""
        vocabulary, weights = _vocabulary()
        rng = self.rng
        words = rng.choices(vocabulary, cum_weights=weights, k=count)
        for index in range(count):
            if rng.random() < _SHARE_RARE:
                words[index] = self._rare()
        return words

    def _rare(self) -> str:
        kind = self.rng.randrange(8)
        if kind == 0:
            return self.rng.choice(_FOREIGN)
        if kind == 1:
            return f"{self.rng.random() * 10 ** self.rng.randrange(1, 5):.2f}"
        if kind == 2:
            return str(self.rng.randrange(10 ** self.rng.randrange(1, 7)))
        if kind == 3:
            return f"{self.identifier(4)}-{self.identifier(8)}"
        return _invented(self.rng).capitalize()

    def sentence(self) -> str:
        """Return one sentence of 5 to 22 words."""
        words = self.words(self.rng.randrange(5, 23))
        if len(words) > 10:
            words[len(words) // 2] += ","
        text = " ".join(words)
        return text[0].upper() + text[1:] + self.rng.choice(("." * 8) + "?!")

    def prose(self, size: int) -> str:
        """Return paragraphs of sentences."""
        parts: list[str] = []
        length = 0
        while length < size:
            text = self.sentence()
            gap = "\n\n" if self.rng.random() < 0.1 else " "
            parts += [text, gap]
            length += len(text) + len(gap)
        return "".join(parts)[:size]

    def records(self, size: int) -> str:
        """Return what tools answer: one JSON record a line, with ids, numbers and some words."""
        rng = self.rng
        name = _invented(rng)
        lines: list[str] = []
        length = 0
        while length < size:
            words = " ".join(self.words(rng.randrange(6, 24)))
            line = (
                f'{{"{name}_id": "{self.identifier(20)}", "rank": {rng.randrange(1000)}, '
                f'"score": {rng.random():.4f}, "title": "{words}"}}\n'
            )
            lines.append(line)
            length += len(line)
        return "".join(lines)[:size]

    def line(self) -> str:
        """Return a line of source code, without a newline."""
        first, second, third = (_invented(self.rng) for _ in range(3))
        a, b, c = self.words(3)
        return self.rng.choice(
            (
                f"    {a}_{first} = self.{b}({second}, {c}={self.rng.randrange(100)})",
                f"    if {a} is not {b} and {second}.{first}:",
                f"        return {first}[{a!r}] + {b}.{third}({c})",
                f"    # {' '.join(self.words(8))}",
                f"def {first}_{a}({b}: {c}, {second}: int = {self.rng.randrange(1000)}) -> None:",
                "",
            )
        )

    def source(self, size: int) -> str:
        """Return lines of source code."""
        lines: list[str] = []
        length = 0
        while length < size:
            lines.append(self.line())
            length += len(lines[-1]) + 1
        return "\n".join(lines)[:size]
