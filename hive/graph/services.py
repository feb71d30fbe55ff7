"""What an executor does for a node while it runs: recorded side effects, and saving its state."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hive import errors
from hive.graph.copies import copy_value
from hive.graph.futile import futile

if TYPE_CHECKING:
    from hive.graph.context import NodeContext
    from hive.graph.run_recorder import RunRecorder

__all__ = ["Effects", "NodeServices"]

MAX_EFFECT_NAME: Final = 200
_MISSING: Final = object()


class Effects:
    """The recorded side effects of one run: in the store, or in memory where there is none."""

    def __init__(self, recorder: RunRecorder) -> None:
        """Record where ``recorder`` saves the run's checkpoints."""
        self._recorder = recorder
        self._known: dict[str, Any] = {}
        # What was done and could not be recorded: another attempt only records it.
        self._unrecorded: dict[str, Any] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def once(self, key: str, name: str, function: Callable[[], Any]) -> Any:
        """Return the stored value of ``key``; where there is none, call and store what it gives.

        ``name`` is what the node calls the effect.
        """
        # Two tasks of a node that name the same effect: the second one waits for the first.
        async with self._locks.setdefault(key, asyncio.Lock()):
            value = self._known.get(key, _MISSING)
            if value is _MISSING:
                value = await self._recorder.effect(key, _MISSING)
            if value is _MISSING:
                value = self._unrecorded.get(key, _MISSING)
                if value is _MISSING:
                    value = function()
                    if inspect.isawaitable(value):
                        value = await value
                    value = self._unrecorded[key] = copy_value(value, f"effect {key}")
                try:
                    value = await self._recorder.record_effect(key, value, name)
                except (errors.InvalidInputError, errors.LimitError) as error:
                    raise futile(error) from None
                del self._unrecorded[key]
            self._known[key] = value
            return copy_value(value, f"effect {key}")

    def refuse_unstorable(self, values: Mapping[str, Any], within: int) -> None:
        """Raise what a checkpoint would, if one is saved, with values in so many containers."""
        self._recorder.refuse_unstorable(values, within)


@dataclass(frozen=True, slots=True)
class NodeServices:
    """What is done for one visit of a node.

    Attributes:
        first_id: The id that the node had when the run began.
        effects: The side effects of the run.
        within: In at most how many containers a checkpoint has what the node gives.
        save_state: Saves the state of the visit; None where the executor cannot.
        ended: For a step of a plan: how many attempts at it ended, in all; ``ctx.attempt`` begins
            at 1 again when the run is tried once more.
    """

    first_id: str
    effects: Effects
    within: int
    save_state: Callable[[Any], Awaitable[None]] | None = None
    ended: int = 0

    async def effect(
        self,
        ctx: NodeContext,
        name: str,
        function: Callable[..., Any],
        arguments: Sequence[Any],
    ) -> Any:
        """Do what ``NodeContext.effect`` says."""
        if not 1 <= len(name) <= MAX_EFFECT_NAME:
            raise errors.InvalidInputError(
                f"the name of an effect is a text of 1 to {MAX_EFFECT_NAME} characters"
            )
        key = json.dumps([*ctx.branch, self.first_id, ctx.visit, name], ensure_ascii=False)
        return await self.effects.once(key, name, lambda: function(*arguments))

    async def checkpoint(self, ctx: NodeContext, state: Any) -> None:
        """Do what ``NodeContext.checkpoint`` says."""
        if self.save_state is None:
            raise errors.InvalidInputError(
                "a step of a plan saves no state of its own: make it several steps"
            )
        if ctx.is_over:
            # The run is elsewhere by now: another node would find the state, and go on from it.
            raise errors.InvalidInputError(
                f"the attempt of node {ctx.node_id!r} is over, so there is nothing to save its "
                "state for: await the tasks of a node before it returns"
            )
        self.refuse_unstorable({"state of the node": state})
        ctx.saved_state = copy_value(state, "state of the node")
        await self.save_state(copy_value(state, "state of the node"))

    def refuse_unstorable(self, values: Mapping[str, Any]) -> None:
        """Refuse what a node gave and no checkpoint can hold, before it is in the run's memory.

        Raises:
            InvalidInputError: One of the values cannot be stored; it names which.
        """
        try:
            self.effects.refuse_unstorable(values, self.within)
        except (errors.InvalidInputError, errors.LimitError) as error:
            problem = errors.InvalidInputError(f"the node gave what cannot be stored: {error}")
            # A text with half of a pair came from outside, and may be another one next time.
            is_text = isinstance(error.__cause__, UnicodeEncodeError)
            raise (problem if is_text else futile(problem)) from error
