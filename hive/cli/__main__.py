"""``python -m hive.cli``: the same as ``hive``."""

from __future__ import annotations

from hive.cli.app import main

if __name__ == "__main__":
    main()
