"""``Connection``: one connection to the pages, of which there are never too many.

Everybody on this machine can open connections and say nothing through them. Too many would use up
the files that a process may have open, and then nobody gets in. So where there are many, a new one
takes the place of the one that has waited longest for a request.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

__all__ = ["ACCEPTED_AT_ONCE", "MOST_CONNECTIONS", "Connection"]

MOST_CONNECTIONS: Final = 100
"""Connections that stay open (inclusive), but for those that are being answered."""
ACCEPTED_AT_ONCE: Final = 32
"""Connections accepted before one is looked at: those few may be open beyond the limit."""

_order: Final = count()


class Connection(H11Protocol):
    """A connection. The headers of a request take at most 64 KiB of memory, as h11 limits them."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and close another one where there are too many."""
        super().connection_made(transport)
        self._place = next(_order)
        opened = [
            each
            for each in self.connections
            if isinstance(each, Connection) and not each.transport.is_closing()
        ]
        if len(opened) > MOST_CONNECTIONS:
            waiting = [each for each in opened if each.is_waiting]
            min(waiting, key=lambda each: each._place).transport.close()

    @property
    def is_waiting(self) -> bool:
        """Whether it is not answering a request. A new one never is."""
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request
        return cycle is None or cycle.response_complete
