"""What every execution of a run with checkpoints does around its work, whatever executes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hive import errors
from hive.graph.interrupts import watching_interrupts

if TYPE_CHECKING:
    from hive.graph.run_recorder import RunRecorder
    from hive.graph.runtime import Runtime

__all__ = ["recording"]


@asynccontextmanager
async def recording(
    recorder: RunRecorder,
    runtime: Runtime,
    run: str,
    *,
    goes_on: bool,
    pause: Callable[[], Awaitable[None]],
) -> AsyncIterator[None]:
    """Claim a run while it is executed, and leave it behind so that anybody can go on with it.

    Args:
        recorder: Saves its checkpoints.
        runtime: Has its open report, which is closed if the run is interrupted.
        run: Its name.
        goes_on: There is something left to do; a run that is over is not claimed.
        pause: Saves where it stands. Called if a person interrupted it with Ctrl-C.

    Raises:
        ConflictError: Somebody else executes the run.
        HiveError: It could not be claimed and the manager's policy is to raise.
    """
    with watching_interrupts(wanted=recorder.saves) as watch:
        try:
            if goes_on:
                await recorder.begin()
            yield
        except BaseException as error:
            runtime.end_run(False, f"interrupted by {type(error).__name__}", run=run)
            if not isinstance(error, GeneratorExit):  # nothing can be awaited any more
                lost = isinstance(error, errors.ConflictError)  # somebody else goes on with it
                if (watch.pressed or isinstance(error, KeyboardInterrupt)) and not lost:
                    await pause()
                await recorder.give_up()
            raise
        finally:
            recorder.let_go()
