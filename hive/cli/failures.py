"""Exit codes, and one line on the error stream for every error.

=====  ==============================================================================
code   meaning
=====  ==============================================================================
0      done
1      the run failed or its program called ``sys.exit``, or the demo's proof failed
2      wrong usage: an option, a name or a value, a missing package (``InvalidInputError``)
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

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import Final, ParamSpec

import typer

from hive.cli.hints import hint, hints_for
from hive.cli.output import discard_output
from hive.cli.text import escape, escape_lines

__all__ = ["FAILED", "exit_code", "guarded", "run_to_the_end", "say"]

FAILED: Final = 1
UNEXPECTED: Final = 70
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141

Parameters = ParamSpec("Parameters")


def guarded(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Wrap a command so that every error becomes one line and the documented exit code."""

    @functools.wraps(command)
    def wrapper(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        with hints_for(kwargs.get("home")):
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
                # Only a program that was loaded or run ends like this. Its code would pass for one
                # of those above, 0 for a run that is done.
                say(f"the program that was loaded or run called sys.exit({stop.code!r})")
                raise typer.Exit(FAILED) from None
            except Exception as error:
                raise typer.Exit(_fail(error)) from None

    return wrapper


def run_to_the_end(program: Callable[[], None]) -> int:
    """Run the whole command line and return its exit code, with all output written.

    What is outside of every command, such as help text, is written here: into a pipe whose reader
    went away, or onto a full disk.
    """
    code = 0
    try:
        try:
            program()
        except SystemExit as stop:
            if isinstance(stop.__context__, BrokenPipeError):
                # Help is written by a library, which ends with 1 then.
                raise stop.__context__ from None
            code = FAILED if isinstance(stop.code, str) else stop.code or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return code or BROKEN_PIPE
    except OSError as error:
        return code or _fail(error)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    return code


def _fail(error: Exception) -> int:
    """Print an error as one line on the error stream and return its exit code."""
    from cas.errors import HiveError

    if isinstance(error, OSError):
        discard_output()
        error = _refused(error) or error
    if os.environ.get("HIVE_DEBUG", "0") not in ("", "0"):  # noqa: TID251  as in output.py
        import traceback

        # Escaped as well: an error's text may quote what a user named something.
        _write_error(escape_lines("".join(traceback.format_exception(error))))
    if isinstance(error, HiveError):
        say(f"error ({error.code}): {error}{_advice(error)}")
    else:
        say(
            f"unexpected error: {type(error).__name__}: {error} "
            "(set HIVE_DEBUG=1 to see where it happened)"
        )
    return exit_code(error)


def _advice(error: Exception) -> str:
    """Return what to do about a damaged object: where that is found, nobody knows of commands."""
    from cas.errors import CorruptObjectError, MissingObjectError

    if not isinstance(error, CorruptObjectError | MissingObjectError) or ";" in str(error):
        return ""
    repair = hint("check", options=["--repair"])
    return f"; {hint('check')} tells what that hits, and {repair} heals or drops it"


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


def _refused(error: OSError) -> Exception | None:
    """Return Hive's own error for what the system refused outside of a store, as on output."""
    from cas import errors

    place = "the output" if error.filename is None else error.filename
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return errors.StoreFullError(
            f"no room left to write {place} ({error.strerror}); free some, then repeat"
        )
    if error.errno == errno.EROFS:
        return errors.ReadOnlyStoreError(
            f"{place} is on a read-only file system; choose another place"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return errors.AccessError(
            f"access to {place} was refused ({error.strerror}); change its permissions, or choose "
            "another place"
        )
    return None


def _write_error(text: str) -> None:
    if sys.stderr is not None:
        # Where even this cannot be written, the exit code still tells.
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
