"""The pace of a task that writes again and again beside others: for how long, and with what pause.

LMDB's lock is not fair: who takes it again at once keeps others out for long. And whoever waits for
it waits for a whole transaction. So while others write, transactions are short and the pauses
longer than they are; while nobody does, they grow, for each of them is synced.
"""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Pace"]

_SHORT_SECONDS: Final = 0.001
_LEAST_PAUSE_SECONDS: Final = 0.0005


class Pace:
    """Says how long the next transaction may take before its commit: ``seconds``."""

    def __init__(self, most_seconds: float) -> None:
        """Begin with a short one; never let one take longer than ``most_seconds``."""
        self._most = most_seconds
        self.seconds = min(most_seconds, _SHORT_SECONDS)
        self._begun = time.perf_counter()

    def begin(self) -> None:
        """Note that a transaction begins, called in it: waiting for the lock does not count."""
        self._begun = time.perf_counter()

    def rest(self, *, others_wrote: bool) -> None:
        """Pause after a transaction; ``others_wrote`` tells whether anybody did since the last."""
        pause = 0.0
        if others_wrote:
            self.seconds = min(self._most, _SHORT_SECONDS)
            pause = time.perf_counter() - self._begun
        else:
            self.seconds = min(self._most, 2 * self.seconds)
        time.sleep(max(_LEAST_PAUSE_SECONDS, pause))
