"""Words and numbers for a terminal; the same as those of pages and logs, see ``hive.text``."""

from __future__ import annotations

from hive.text import age, count, escape, escape_lines, size

__all__ = ["age", "count", "escape", "escape_lines", "size"]
