"""What is closed at the end of a block.

Not made of ``cas.closing``: graphs that run without a manager import nothing of the store.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing:
    """Closes itself at the end of a ``with`` or ``async with`` block. A subclass says how."""

    def close(self) -> None:
        """Finish what is due and let go of what was opened. Closing twice is harmless."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Do what ``close`` does without holding up the event loop."""
        from hive.graph.background import in_thread

        await in_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
