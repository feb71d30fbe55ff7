"""The command line: ``hive``.

The modules here print; what they print comes from ``manifests`` and ``hive``. A command imports the
store inside its function, so that ``hive --help`` and shell completion stay quick.
"""

from __future__ import annotations

from hive.cli.app import main

__all__ = ["main"]
