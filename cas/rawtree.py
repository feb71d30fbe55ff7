"""Walking the trees of a data file as far as they verify, and noting what could not be read.

A page counts as part of a tree only if it says that it is that page, is not free, was not reached
before, and holds keys that belong where it hangs: so a damaged pointer leads nowhere, and no walk
goes on for ever. Rows of a page that is damaged itself are taken one by one; who asked for them
verifies them.
"""

from __future__ import annotations

import operator
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from cas.rawfile import RawFile
from cas.rawpage import (
    BIG,
    BRANCH,
    DEEPEST,
    FIRST_PAGE,
    HEADER,
    LEAF,
    NO_PAGE,
    TREE,
    WORD,
    DamagedPageError,
    RawNode,
    branch_nodes,
    leaf_nodes,
    loose_nodes,
)

__all__ = ["FREE_LIST", "FreePages", "Loss", "RawRow", "Tree", "TreeWalk"]

FREE_LIST: Final = "the free list"
_NO_LIMIT: Final = 1 << 62


class RawRow(NamedTuple):
    """A row as a tree has it.

    The value is None where its own pages cannot be read. ``is_placed`` says whether the page that
    it stands on is filled by its rows exactly; on another one, a row may be what was left there.
    """

    key: bytes
    flags: int
    value: bytes | None
    is_placed: bool


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree, by what its root record says of it. ``rows`` is None where nothing says it."""

    name: str
    root: int
    depth: int
    rows: int | None
    is_ordered: bool = True

    @classmethod
    def of_record(cls, name: str, record: bytes, *, is_ordered: bool = True) -> Self:
        """Read a root record."""
        _, _, depth, _, _, _, rows, root = TREE.unpack(record)
        return cls(name, root, depth, rows, is_ordered)


@dataclass(frozen=True, slots=True)
class Loss:
    """A part of a tree that could not be read whole.

    Attributes:
        tree: The tree's name.
        page: The page that should be there.
        low: The lowest key that a row there can have (inclusive).
        high: The key below which they are; None: there is no bound.
        text: What is wrong.
        is_leaf: Whether rows stand on the page itself; else on those below it.
    """

    tree: str
    page: int
    low: bytes
    high: bytes | None
    text: str
    is_leaf: bool


@dataclass(slots=True)
class FreePages:
    """The pages that no tree of a commit needs, each with the commit that freed it.

    ``complete`` says whether these are all of them. ``behind_end`` counts those behind the end of
    the file, which were never written.
    """

    freed: array[int]
    complete: bool = False
    behind_end: int = 0

    def moment(self, page: int) -> int:
        """Return the number of the commit that freed a page, 0 if it is not free."""
        return self.freed[page] if page < len(self.freed) else 0


@dataclass(frozen=True, slots=True)
class _Step:
    page: int
    level: int
    low: bytes
    high: bytes | None


@dataclass(slots=True)
class TreeWalk:
    """Walks trees of one file, looking at no more than ``most_pages``.

    ``used`` has a 1 for every page that was found to be part of a tree. ``torn`` are pages among
    them of which something is damaged.
    """

    file: RawFile
    free: FreePages
    most_pages: int = _NO_LIMIT
    used: bytearray = field(init=False)
    torn: set[int] = field(default_factory=set)
    losses: list[Loss] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with no page used."""
        self.used = bytearray(self.file.pages)

    def leaves(
        self, tree: Tree, accepts: Callable[[Sequence[RawNode]], bool]
    ) -> Iterator[list[RawRow]]:
        """Yield the rows of a tree, page by page in the order of their keys.

        Args:
            tree: The tree.
            accepts: Whether the rows of a page can be of this tree.
        """
        stack = [] if tree.root == NO_PAGE else [_Step(tree.root, 1, b"", None)]
        while stack and self.most_pages:
            self.most_pages -= 1
            step = stack.pop()
            try:
                data = self._page(step.page)
                if HEADER.unpack_from(data)[2] == BRANCH:
                    stack += self._below(tree, step, data)
                    continue
                nodes = self._nodes(tree, step, data, accepts)
            except DamagedPageError as error:
                self._lose(tree, step, str(error))
                continue
            is_placed = step.page not in self.torn
            yield [
                RawRow(node.key, node.flags, self._value(tree, node), is_placed) for node in nodes
            ]

    def _page(self, page: int) -> bytes:
        if not FIRST_PAGE <= page:
            raise DamagedPageError(f"page {page} cannot be part of a tree")
        data = self.file.page(page)
        if self.used[page]:
            raise DamagedPageError(f"page {page} is reached twice")
        if self.free.complete and self.free.moment(page):
            raise DamagedPageError(f"page {page} is reached, and free")
        return data

    def _below(self, tree: Tree, step: _Step, data: bytes) -> list[_Step]:
        """Return the steps to the children of a branch page, the first one last."""
        nodes = branch_nodes(data, step.page, tree.name)
        if step.level == DEEPEST:
            raise DamagedPageError(f"page {step.page} of {tree.name} is too deep")
        keys = [step.low, *(key for key, _page in nodes[1:])]
        if tree.is_ordered and not (_ascend(keys) and (step.high is None or keys[-1] < step.high)):
            raise DamagedPageError(f"page {step.page} of {tree.name} has keys out of order")
        self.used[step.page] = 1
        bounds = [*keys[1:], step.high]
        below = [
            _Step(page, step.level + 1, low, high)
            for (_key, page), low, high in zip(nodes, keys, bounds, strict=True)
        ]
        below.reverse()
        return below

    def _nodes(
        self, tree: Tree, step: _Step, data: bytes, accepts: Callable[[Sequence[RawNode]], bool]
    ) -> list[RawNode]:
        """Return the rows of a leaf page; of a damaged one, those that may be."""
        number, _, flags, _, _ = HEADER.unpack_from(data)
        if (number, flags) != (step.page, LEAF):
            raise DamagedPageError(f"page {step.page} of {tree.name} is another one")
        damage = ""
        try:
            nodes = leaf_nodes(data, step.page, tree.name)
        except DamagedPageError as error:
            damage = str(error)
            nodes = list(loose_nodes(data))
        if tree.is_ordered:
            inside = [node for node in nodes if _is_inside(node.key, step)]
            if not damage and len(inside) != len(nodes):
                raise DamagedPageError(f"page {step.page} of {tree.name} has rows of another place")
            nodes = inside
            if not damage and not _ascend([node.key for node in nodes]):
                self._lose(tree, step, f"page {step.page} of {tree.name} has keys out of order")
            nodes.sort(key=operator.attrgetter("key"))
        if not accepts(nodes):
            raise DamagedPageError(f"page {step.page} has no rows of {tree.name}")
        self.used[step.page] = 1
        if damage:
            self.torn.add(step.page)
            self._lose(tree, step, damage)
        return nodes

    def _value(self, tree: Tree, node: RawNode) -> bytes | None:
        if not node.flags & BIG:
            return node.value
        page = int.from_bytes(node.value, sys.byteorder)
        try:
            self._page(page)
            value, count = self.file.overflow(page, node.size)
        except DamagedPageError as error:
            step = _Step(page, DEEPEST, node.key, node.key + b"\0")
            self.torn.add(page)
            self._lose(tree, step, f"a row of {tree.name} is lost: {error}")
            return None
        self.used[page : page + count] = b"\1" * count
        return value

    def _lose(self, tree: Tree, step: _Step, text: str) -> None:
        is_leaf = step.level >= tree.depth
        self.losses.append(Loss(tree.name, step.page, step.low, step.high, text, is_leaf))

    def read_free_list(self, record: bytes, transaction: int) -> None:
        """Learn which pages are free; whether that is all of them stands in ``free.complete``.

        Args:
            record: The root record of the free list.
            transaction: The number of the commit. Every commit frees pages under its own number, so
                a list without it is an older one, by which pages in use may be free.
        """
        tree = Tree.of_record(FREE_LIST, record, is_ordered=False)
        free, newest, rows, sound = self.free, 0, 0, True
        for leaf in self.leaves(tree, lambda _nodes: True):
            for key, _flags, value, _is_placed in leaf:
                rows += 1
                moment = int.from_bytes(key, sys.byteorder)
                numbers = array("Q", value[: len(value) // WORD * WORD] if value else b"")
                if len(key) != WORD or not numbers or numbers[0] >= len(numbers) or not moment:
                    sound = False
                    continue
                newest = max(newest, moment)
                for page in numbers[1 : numbers[0] + 1]:
                    if page >= len(free.freed):
                        free.behind_end += 1
                    elif page < FIRST_PAGE or free.freed[page]:
                        sound = False
                    else:
                        free.freed[page] = moment
        is_current = newest == transaction or transaction <= 1
        free.complete = sound and is_current and rows == tree.rows and not self.losses


def _is_inside(key: bytes, step: _Step) -> bool:
    return step.low <= key and (step.high is None or key < step.high)


def _ascend(keys: Sequence[bytes]) -> bool:
    return all(map(operator.lt, keys, keys[1:]))
