"""The pages of a snapshot, checked with plain reads before LMDB follows them.

LMDB trusts its pages: a flipped bit in a page's header, in the place of a row or in the root of a
table ends the process (SIGBUS, or a failed assertion), or makes a writer reuse pages that are in
use. So when a store is opened, every page that its last commit reaches is looked at once: what it
says of itself must fit its page exactly, and no page may be reached twice, or be free as well. In
checked tables the keys must be in order too: else a row that is there would not be found, and what
is not found counts as never saved. In the others a damaged key hides its row, as readers notice;
but where keys of branch pages lead past rows, the next commit puts rows where they hide others.
Values are not looked at: a record hashes to its address, rows of checked tables carry checksums.

That takes about 4 ms for each MB, so of a large file only the pages nearest to the roots are looked
at. ``cas.check`` looks at everything.
"""

from __future__ import annotations

import operator
import os
import struct
import sys
from array import array
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cas.errors import CorruptStoreError
from cas.failures import translate
from cas.rawpage import (
    BIG,
    BRANCH,
    DEEPEST,
    FIRST_PAGE,
    FREE_AT,
    HEADER,
    INTEGER_KEYS,
    LEAF,
    MAIN_AT,
    META_BYTES,
    NO_PAGE,
    NODE,
    OVERFLOW,
    PAGES,
    PAGES_AT,
    TABLE,
    TREE,
    WORD,
    DamagedPageError,
    branch_fits,
    even,
    page_places,
)
from cas.stamp import STAMP_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

__all__ = ["MOST_PAGES", "check_pages"]

MOST_PAGES: Final = 8_192
"""Most pages looked at: 32 MiB of them."""

_META: Final = struct.Struct("=QQ")
_META_AT: Final = 136
"""Where the last page and the transaction number stand in a meta page."""


class _Tree:
    """A tree: what its root record says of it, and what was found."""

    __slots__ = ("beyond", "depth", "found", "is_ordered", "last_key", "name", "root", "said")

    def __init__(
        self, name: str, record: bytes, *, is_ordered: bool, expected_flags: int = 0
    ) -> None:
        _, flags, self.depth, *self.said, self.root = TREE.unpack(record)
        self.name = name
        self.is_ordered = is_ordered
        # Branch pages, leaf pages, overflow pages, rows.
        self.found = [0, 0, 0, 0]
        # Of the leaf page looked at last, the last key, and whether it is another page's.
        self.last_key, self.beyond = b"", False
        has_depth = 0 < self.depth <= DEEPEST if self.root != NO_PAGE else self.depth == 0
        if flags != expected_flags or not has_depth:
            raise DamagedPageError(f"the root of {name} is damaged")


@dataclass(frozen=True, slots=True)
class _Step:
    """A page to be looked at, ``level`` steps below the root of its tree.

    Its keys lie between ``low`` (inclusive) and ``high`` (exclusive).
    """

    tree: _Tree
    page: int
    level: int = 1
    low: bytes = b""
    high: bytes | None = None


class _Walk:
    """One walk over the pages that a meta page leads to."""

    def __init__(
        self, descriptor: int, page_bytes: int, meta: bytes, ordered: Collection[str]
    ) -> None:
        self._ordered = ordered
        self._descriptor = descriptor
        self._page_bytes = page_bytes
        self._last_page, self._transaction = _META.unpack_from(meta, _META_AT)
        self._used: set[int] = set()
        self._free: list[int] = []
        self._steps: deque[_Step] = deque()
        record = meta[FREE_AT : FREE_AT + TREE.size]
        self._free_tree = _Tree(
            "the free list", record, is_ordered=False, expected_flags=INTEGER_KEYS
        )
        self._trees: list[_Tree] = []
        self._plant(self._free_tree)
        record = meta[MAIN_AT : MAIN_AT + TREE.size]
        self._plant(_Tree("the list of tables", record, is_ordered=True))
        self._of_lmdb = tuple(self._trees)

    def run(self, most_pages: int) -> None:
        """Look at pages, those nearest to the roots first; compare if all were looked at."""
        for _ in range(most_pages):
            if not self._steps:
                self._compare()
                return
            self._look(self._steps.popleft())

    def _plant(self, tree: _Tree) -> None:
        self._trees.append(tree)
        if tree.depth:
            self._steps.append(_Step(tree, self._use(tree.root)))

    def _use(self, page: int, count: int = 1) -> int:
        """Note pages as used, which they must not be yet."""
        for each in range(page, page + count):
            if each in self._used or not FIRST_PAGE <= each <= self._last_page:
                raise DamagedPageError(f"page {each} is reached twice, or cannot be")
            self._used.add(each)
        return page

    def _read(self, page: int, size: int) -> bytes:
        data = os.pread(self._descriptor, size, page * self._page_bytes)
        if len(data) != size:
            raise DamagedPageError(f"page {page} is behind the end of the file")
        return data

    def _look(self, step: _Step) -> None:
        tree, size = step.tree, self._page_bytes
        data = self._read(step.page, size)
        is_leaf = step.level == tree.depth
        places = page_places(data, step.page, LEAF if is_leaf else BRANCH, tree.name)
        inside = sorted(places)
        tree.found[is_leaf] += 1
        fits = self._leaf(tree, data, inside) if is_leaf else branch_fits(data, inside)
        if not fits:
            raise DamagedPageError(f"page {step.page} of {tree.name} has rows that do not fit it")
        keys = [
            data[at + NODE.size : at + NODE.size + NODE.unpack_from(data, at)[3]] for at in places
        ]
        if tree is self._free_tree:
            if is_leaf:
                self._refuse_moments(keys)
        elif is_leaf and not tree.is_ordered:
            self._refuse_unreachable(step, keys)
        else:
            if not is_leaf:
                keys[0] = step.low  # it does not count
            self._refuse_disorder(step, keys)
        if not is_leaf:
            self._descend(step, data, places, keys)

    def _refuse_disorder(self, step: _Step, keys: Sequence[bytes]) -> None:
        in_bounds = keys[0] >= step.low and (step.high is None or keys[-1] < step.high)
        if not (in_bounds and all(map(operator.lt, keys, keys[1:]))):
            raise DamagedPageError(f"page {step.page} of {step.tree.name} has keys out of order")

    def _refuse_unreachable(self, step: _Step, keys: Sequence[bytes]) -> None:
        """Refuse keys of branch pages by which rows are not found that are in order.

        One that is not in order may have a damaged key itself.
        """
        tree, low, high = step.tree, step.low, step.high
        is_first_out, is_last_out = keys[0] < low, high is not None and keys[-1] >= high
        outside = sum(key < low or (high is not None and key >= high) for key in keys)
        in_order = tree.last_key < keys[0] and (tree.beyond or is_first_out)
        tree.last_key, tree.beyond = keys[-1], is_last_out
        if outside > 1 or in_order:
            raise DamagedPageError(f"keys lead past page {step.page} of {tree.name}")

    def _refuse_moments(self, keys: Iterable[bytes]) -> None:
        """Refuse a free list that is not in the order of commits, or of some that are to come."""
        moments = [0, *(int.from_bytes(key, sys.byteorder) for key in keys), self._transaction + 1]
        if not all(map(operator.lt, moments, moments[1:])):
            raise DamagedPageError("the free list is damaged")

    def _descend(self, step: _Step, data: bytes, places: list[int], keys: list[bytes]) -> None:
        """Take the steps to the children of a branch page."""
        bounds: list[bytes | None] = [*keys[1:], step.high]
        for index, at in enumerate(places):
            low, middle, high, _ = NODE.unpack_from(data, at)
            child = self._use(low | middle << 16 | high << 32)
            self._steps.append(_Step(step.tree, child, step.level + 1, keys[index], bounds[index]))

    def _leaf(self, tree: _Tree, data: bytes, places: list[int]) -> bool:
        for at, end in zip(places, [*places[1:], len(data)], strict=True):
            low, high, flags, key_bytes = NODE.unpack_from(data, at)
            value_at = at + NODE.size + key_bytes
            size = low | high << 16
            if even(value_at + (WORD if flags == BIG else size)) != end:
                return False
            if flags or tree in self._of_lmdb:
                self._value(tree, flags, data[at + NODE.size : value_at], data[value_at:end], size)
        tree.found[3] += len(places)
        return True

    def _value(self, tree: _Tree, flags: int, key: bytes, value: bytes, size: int) -> None:
        """Follow the value of a row that leads to other pages."""
        if flags == TABLE and size == TREE.size and tree is self._trees[1]:
            name = key.decode(errors="replace")
            self._plant(_Tree(f"table {name!r}", value[:size], is_ordered=name in self._ordered))
            return
        if flags == BIG:
            value = self._overflow(tree, int.from_bytes(value[:WORD], sys.byteorder), size)
        elif flags or (tree is self._trees[1] and key != STAMP_KEY):
            raise DamagedPageError(f"a row of {tree.name} is of no known kind")
        if tree is self._free_tree:
            numbers = array("Q", value[: size // WORD * WORD])
            if len(key) != WORD or not numbers or numbers[0] >= len(numbers):
                raise DamagedPageError("the free list is damaged")
            self._free += numbers[1 : numbers[0] + 1]

    def _overflow(self, tree: _Tree, page: int, size: int) -> bytes:
        """Return the value in overflow pages; only of the free list it matters, and is read."""
        if not FIRST_PAGE <= page <= self._last_page:
            raise DamagedPageError(f"a row of {tree.name} leads to page {page}, which cannot be")
        wanted = size if tree is self._free_tree else 0
        data = self._read(page, HEADER.size + wanted)
        number, _, flags, _, _ = HEADER.unpack_from(data)
        (count,) = PAGES.unpack_from(data, PAGES_AT)
        # There may be more pages than the value needs: a shorter one was written over it.
        fits = count * self._page_bytes >= HEADER.size + size
        if (number, flags) != (page, OVERFLOW) or not fits:
            raise DamagedPageError(f"page {page} of {tree.name} is another one")
        self._use(page, count)
        tree.found[2] += count
        return data[HEADER.size :]

    def _compare(self) -> None:
        """Compare what was found with what was said of it."""
        for tree in self._trees:
            if tree.found != tree.said:
                raise DamagedPageError(f"the root of {tree.name} is damaged")
        free = set(self._free)
        if len(free) != len(self._free) or not free.isdisjoint(self._used):
            raise DamagedPageError("the free list names pages twice, or pages that are in use")
        if free and not FIRST_PAGE <= min(free) <= max(free) <= self._last_page:
            raise DamagedPageError("the free list names pages that cannot be")


def check_pages(
    path: Path,
    page_bytes: int,
    transaction: int,
    *,
    ordered: Collection[str] = (),
    most_pages: int = MOST_PAGES,
) -> bool:
    """Check the pages of the snapshot that commit number ``transaction`` left.

    Call it inside a read transaction on that snapshot, which keeps writers from reusing its pages.

    Args:
        path: The data file.
        page_bytes: The size of a page.
        transaction: The number of the commit.
        ordered: The tables whose keys must be in order, by name.
        most_pages: Look at no more pages than that.

    Returns:
        Whether its meta page was still there. If not, begin again with a newer snapshot.

    Raises:
        CorruptStoreError: A page is damaged.
        HiveError: The file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for page in (0, 1):
                meta = os.pread(descriptor, META_BYTES, page * page_bytes)
                if len(meta) == META_BYTES and _META.unpack_from(meta, _META_AT)[1] == transaction:
                    _Walk(descriptor, page_bytes, meta, ordered).run(most_pages)
                    return True
        finally:
            os.close(descriptor)
    except OSError as error:
        raise translate(error, path) from error
    except DamagedPageError as error:
        raise CorruptStoreError(
            f"{path}: the LMDB file is damaged: {error}; restore the store from a copy, or salvage "
            "it",
            path=path,
        ) from error
    return False
