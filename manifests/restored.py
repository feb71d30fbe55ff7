"""Letting the commit after a restore find what was restored as what is unchanged.

A framework that loads a state at the start of every turn commits the objects that it was handed,
which are others than those of the commit before. Comparing them with those takes longer than all
else that the commit does. But they are what was encoded then: so their memory can be of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifests.likeness import Likeness
from manifests.memo import Node
from manifests.segments import MOST_AS_ONE, Segment
from manifests.template import Watched

__all__ = ["expect"]


def expect(root: Node, state: dict[Any, Any], watched: Watched, likeness: Likeness) -> None:
    """Let a memory's larger lists be those of a state restored just now.

    Args:
        root: The memory of the commit whose state it is.
        state: What was restored. Nobody else has it yet.
        watched: Of items of lists that were copied, what has to be watched below them.
        likeness: Finds that out for the others.
    """
    below = {id(item): segment for items, segment in watched for item in items}
    for key, segment in zip(root.keys, root.segments, strict=True):
        items = state.get(key)
        if type(items) is not list or len(segment.nodes) != 1:
            continue
        (node,) = segment.nodes
        if not node.is_dict and not node.tail and len(node.values) == len(items):
            node.restore(items, _segments(items, below, likeness))


def _segments(items: Sequence[Any], below: dict[int, Segment], likeness: Likeness) -> list[Segment]:
    found = [below.get(id(item)) for item in items]
    missing = [place for place, segment in enumerate(found) if segment is None]
    for start in range(0, len(missing), MOST_AS_ONE):
        places = missing[start : start + MOST_AS_ONE]
        values = [items[place] for place in places]
        segment = likeness.of(values, values)
        if segment is None:
            segment = Segment()
            segment.opaque = True
        for place in places:
            found[place] = segment.shared()
    return [segment for segment in found if segment is not None]
