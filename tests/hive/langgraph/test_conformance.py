"""LangGraph's own suite for savers, on the async methods and on the sync ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES

from hive.adapters.langgraph import HiveSaver


class _SyncPath(HiveSaver):
    """Its async methods are its sync ones, called on the spot."""

    async def aput(self, *args: Any, **options: Any) -> Any:
        return self.put(*args, **options)

    async def aput_writes(self, *args: Any, **options: Any) -> Any:
        self.put_writes(*args, **options)

    async def aget_tuple(self, *args: Any, **options: Any) -> Any:
        return self.get_tuple(*args, **options)

    async def alist(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        for item in self.list(*args, **options):
            yield item

    async def adelete_thread(self, *args: Any, **options: Any) -> None:
        self.delete_thread(*args, **options)

    async def adelete_for_runs(self, *args: Any, **options: Any) -> None:
        self.delete_for_runs(*args, **options)

    async def acopy_thread(self, *args: Any, **options: Any) -> None:
        self.copy_thread(*args, **options)

    async def aprune(self, *args: Any, **options: Any) -> None:
        self.prune(*args, **options)


@pytest.mark.parametrize("kind", [HiveSaver, _SyncPath], ids=["async", "sync"])
def test_base_and_extended_capabilities_are_all_there(
    tmp_path: Path, kind: type[HiveSaver]
) -> None:
    homes = iter(range(100))

    async def make() -> AsyncIterator[HiveSaver]:
        async with kind(tmp_path / str(next(homes))) as saver:
            yield saver
            assert saver.repository.check().ok

    report = asyncio.run(validate(checkpointer_test(name=kind.__name__)(make)))
    failures = [name for result in report.results.values() for name in result.failures or ()]
    assert failures == []
    passed = {name for name, result in report.results.items() if result.passed}
    assert passed == {capability.value for capability in ALL_CAPABILITIES}
