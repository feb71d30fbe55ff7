"""Exit codes, and one line on the error stream for every error.

=====  ==============================================================================
code   meaning
=====  ==============================================================================
0      done
1      the run failed or its program called ``sys.exit``, or the demo's proof failed
2      wrong usage: an option, a name or a value (``InvalidInputError``)
3      not found: store, run, checkpoint, tag or key (``NotFoundError``)
4      conflict: somebody else moved first, or the run exists (``ConflictError``)
5      damaged store (``CorruptionError`` and its kinds)
6      written by a newer Hive (``UnsupportedFormatError``)
7      no room or over a limit (``StoreFullError``, ``LimitError``)
8      no access, or read-only (``AccessError``, ``ReadOnlyStoreError``)
9      any other ``HiveError``
70     an error that Hive did not expect; ``HIVE_DEBUG=1`` shows where
130    interrupted (Ctrl-C)
141    the reader of the output went away (as after ``| head``)
=====  ==============================================================================

No traceback reaches a person unless ``HIVE_DEBUG`` is set to something other than ``0``.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

import typer

from hive.cli.output import discard_output
from hive.cli.text import escape, escape_lines

__all__ = ["FAILED", "exit_code", "fail", "guarded", "say"]

FAILED = 1
UNEXPECTED = 70
INTERRUPTED = 130
BROKEN_PIPE = 141

Parameters = ParamSpec("Parameters")


def guarded(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Wrap a command so that every error becomes one line and the documented exit code."""

    @functools.wraps(command)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
            if sys.stdout is not None:
                # Now, while a full disk or a closed pipe can still be told from success.
                sys.stdout.flush()
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            discard_output()
            raise typer.Exit(BROKEN_PIPE) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except SystemExit as stop:
            # Only a program that was loaded or run ends like this. Its code would pass for one of
            # those above, 0 for a run that is done.
            say(f"the program that was loaded or run called sys.exit({stop.code!r})")
            raise typer.Exit(FAILED) from None
        except Exception as error:
            raise typer.Exit(fail(error)) from None

    return wrapper


def fail(error: Exception) -> int:
    """Print an error as one line on the error stream and return its exit code."""
    from cas.errors import HiveError

    if os.environ.get("HIVE_DEBUG", "0") not in ("", "0"):  # noqa: TID251  as in output.py
        import traceback

        # Escaped as well: an error's text may quote what a user named something.
        _write_error(escape_lines("".join(traceback.format_exception(error))))
    if isinstance(error, HiveError):
        say(f"error ({error.code}): {error}")
    else:
        if isinstance(error, OSError):
            discard_output()
        say(
            f"unexpected error: {type(error).__name__}: {error} "
            "(set HIVE_DEBUG=1 to see where it happened)"
        )
    return exit_code(error)


def say(text: str) -> None:
    """Print a remark on the error stream, escaped, so that it does not mix with the output."""
    _write_error(f"hive: {escape(text)}\n")


def exit_code(error: Exception) -> int:
    """Return the documented exit code of an error."""
    from cas import errors

    classes: tuple[tuple[type[errors.HiveError], int], ...] = (
        (errors.InvalidInputError, 2),
        (errors.NotFoundError, 3),
        (errors.ConflictError, 4),
        (errors.CorruptionError, 5),
        (errors.UnsupportedFormatError, 6),
        (errors.StoreFullError, 7),
        (errors.LimitError, 7),
        (errors.AccessError, 8),
        (errors.ReadOnlyStoreError, 8),
        (errors.HiveError, 9),
    )
    return next((code for kind, code in classes if isinstance(error, kind)), UNEXPECTED)


def _write_error(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(text)
