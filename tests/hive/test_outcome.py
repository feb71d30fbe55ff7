"""Tasks that wait for another thread: woken together, and never told before it is over."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from hive.graph.outcome import Outcome, announce


def test_tasks_are_woken_together_each_with_its_own_outcome() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls: list[int] = []
        wake = loop.call_soon_threadsafe

        def counted(function: Any, outcomes: list[Outcome[int]]) -> asyncio.Handle:
            calls.append(len(outcomes))
            return wake(function, outcomes)

        loop.call_soon_threadsafe = counted  # type: ignore[assignment,method-assign]
        outcomes: list[Outcome[int]] = [Outcome() for _ in range(5)]
        waiting = [asyncio.create_task(outcome.wait()) for outcome in outcomes]
        await asyncio.sleep(0.01)
        for number, outcome in enumerate(outcomes[:-1]):
            outcome.succeed(number)
        outcomes[-1].fail(ValueError("of the last"))
        await asyncio.sleep(0.01)
        assert not any(task.done() for task in waiting)  # set, and not announced yet
        thread = threading.Thread(target=announce, args=(outcomes,))
        thread.start()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        thread.join()
        assert found[:-1] == [0, 1, 2, 3]
        assert isinstance(found[-1], ValueError)
        assert calls == [5]

    asyncio.run(main())


def test_what_is_announced_before_anybody_waits_is_not_lost() -> None:
    async def main() -> int:
        outcome: Outcome[int] = Outcome()
        outcome.succeed(1)
        announce([outcome])
        await asyncio.sleep(0.01)
        return await asyncio.wait_for(outcome.wait(), 5)

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancelled_task_waits_for_the_outcome(fails: bool) -> None:
    async def main() -> None:
        outcome: Outcome[int] = Outcome()
        task = asyncio.create_task(outcome.wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done()
        if fails:
            outcome.fail(ValueError("not done"))
        else:
            outcome.succeed(1)
        announce([outcome])
        with pytest.raises(ValueError if fails else asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_a_task_that_is_cancelled_twice_does_not_wait() -> None:
    async def main() -> Outcome[int]:
        outcome: Outcome[int] = Outcome()
        task = asyncio.create_task(outcome.wait())
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        return outcome

    outcome = asyncio.run(main())
    outcome.succeed(1)
    announce([outcome])  # its event loop is closed by now
