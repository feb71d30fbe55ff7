"""Long histories of states in which anything may change: each commit is what a full encoding is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from cas.digest import Digest
from cas.errors import HiveError
from cas.objects import Object
from manifests import alignment, earlier, encoder, entries, identity, segments, watch
from manifests.decoder import Decoder
from manifests.encoder import Encoder
from manifests.incremental import Memory
from manifests.likeness import Likeness
from manifests.memo import Node
from manifests.parameters import TreeParameters
from manifests.pieces import Linked, PieceSink
from tests.manifests.sameness import assert_same
from tests.manifests.wild import Wild, registry

REGISTRY = registry()
_STEPS = 30
_LARGEST = 60_000
"""Bytes of a state from which on another one is begun."""


class Chain:
    """Encodes one state after the other, building on the one before."""

    def __init__(self, parameters: TreeParameters) -> None:
        self._parameters = parameters
        self._root: Node | None = None
        self._stored: dict[Digest, Object] = {}

    def commit(self, state: Any, **promises: Any) -> Linked | None:
        """Encode a state both ways; returns None if both refuse it."""
        whole, objects = self._encoded(state, None)
        memory = Memory(self._root, likeness=Likeness(REGISTRY), **promises)
        found, new = self._encoded(state, memory)
        if isinstance(found, HiveError):
            assert str(found) == str(whole)
            self._root = None
            return None
        assert isinstance(whole, Linked)
        assert found.parts == whole.parts
        assert (found.logical, found.height) == (whole.logical, whole.height)
        # What the parent does not hold may have been collected.
        assert objects.items() <= {**self._stored, **new}.items()
        self._root, self._stored = memory.root, objects
        return whole

    def restored(self, link: Linked) -> Any:
        """Decode the last state."""
        stored = self._stored

        def load(names: Sequence[Any]) -> Sequence[Object]:
            return [stored[name] for name in names]

        return Decoder(REGISTRY, load).value(load(link.parts)[0])

    def _encoded(
        self, state: Any, memory: Memory | None
    ) -> tuple[Linked | HiveError, dict[Digest, Object]]:
        sink = PieceSink()
        try:
            piece = Encoder(REGISTRY, self._parameters, sink, memory=memory).state(state)
        except HiveError as error:
            return error, {}
        return sink.seal(piece), sink.objects


def tiny(dice: Random) -> TreeParameters:
    """Draw parameters with which a few items make a deep tree."""
    return TreeParameters(
        inline_item=dice.choice((3, 8, 64)),
        whole_dict=dice.choice((0, 80, 400, 4_096)),
        inline_entry=dice.choice((3, 12, 96)),
        short_items=dice.choice((1, 2, 3, 5, 32)),
        run_least=dice.choice((2, 3, 4)),
        run_target=dice.choice((2, 3, 5)),
        entry_target=dice.choice((2, 3)),
        run_most=dice.choice((4, 6, 9)),
        run_bytes=dice.choice((10, 60, 8_192)),
        whole_text=300,
        chunk_least=64,
        chunk_average=256,
        chunk_most=1_024,
    )


def shrink_limits(dice: Random, patch: pytest.MonkeyPatch) -> None:
    """Draw limits that are reached by few items."""
    least, least_list = dice.choice((1, 4, 16)), dice.choice((1, 2, 4))
    for module in (encoder, segments):
        patch.setattr(module, "LEAST_ITEMS", least)
        patch.setattr(module, "LEAST_LIST_ITEMS", least_list)
    patch.setattr(watch, "_BLOCK_CONTAINERS", dice.choice((1, 3, 10, 256)))
    patch.setattr(watch, "_FEW", dice.choice((0, 2, 8)))
    patch.setattr(earlier, "MOST_AS_ONE", dice.choice((2, 5, 64)))
    patch.setattr(alignment, "_NEAR", dice.choice((1, 2, 5, 64)))
    patch.setattr(alignment, "_FEW", dice.choice((1, 8)))
    patch.setattr(identity, "_FEW", dice.choice((1, 3, 64)))
    patch.setattr(identity, "_BLOCK", dice.choice((1, 4, 512)))
    patch.setattr(entries, "_MANY", dice.choice((1, 4, 20)))


def live(dice: Random) -> None:
    """Change a state and commit it, many times."""
    wild = Wild(dice)
    chain = Chain(TreeParameters() if dice.random() < 0.2 else tiny(dice))
    state = wild.state()
    for step in range(_STEPS):
        link = chain.commit(state)
        if link is None or link.logical > _LARGEST or dice.random() < 0.03:
            state = wild.state()
            continue
        if step % 5 == 0:
            restored = chain.restored(link)
            assert_same(restored, state)
            state = restored if dice.random() < 0.3 else state
        # Before the changes and behind them: what is compared with a copy has not changed itself.
        if dice.random() < 0.4:
            state = wild.handed_over(state)
        for _ in range(dice.choice((0, 1, 1, 2, 5))):
            wild.change(state)
        if dice.random() < 0.3:
            state = wild.handed_over(state)


@pytest.mark.torture
def test_every_commit_is_what_a_full_encoding_is(
    seed: int, rounds: Callable[[int, int], int]
) -> None:
    """Whatever was done to the state, in place or not, and however often."""
    for number in range(rounds(12, 1_500)):
        with pytest.MonkeyPatch.context() as patch:
            dice = Random(f"{seed}:{number}")
            shrink_limits(dice, patch)
            live(dice)


CONTROLS: dict[str, tuple[type, str, Any]] = {
    "changes inside": (watch.Watch, "stale", lambda _: set()),
    "keys that change": (segments.Segment, "note_in_key", lambda *_: None),
    "values of dicts": (
        watch._Contents,
        "add_dicts",
        lambda self, dicts, owners: self.add_lists(dicts, owners),
    ),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_mistake_would_be_noticed(control: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: with any part of it broken, the test above fails."""
    monkeypatch.setattr(*CONTROLS[control])
    with pytest.raises(AssertionError):  # noqa: PT012
        for number in range(60):
            with pytest.MonkeyPatch.context() as patch:
                dice = Random(number)
                shrink_limits(dice, patch)
                live(dice)
