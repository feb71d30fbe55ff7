"""How tests start Python where no warning may come of what it runs."""

from __future__ import annotations

from typing import Final

__all__ = ["STRICT"]

STRICT: Final = (
    *("-W", "error"),
    # On Python 3.14, from langsmith, which comes with LangGraph.
    *("-W", "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"),
)
"""Options of the interpreter."""
