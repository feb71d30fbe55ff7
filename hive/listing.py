"""Going through runs that were listed, although some are damaged, or go on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from hive.errors import CorruptionError, NotFoundError, UnsupportedFormatError
from manifests import Repository, RunInfo, UnreadableRun

__all__ = ["readable"]

T = TypeVar("T")

_MOST_TRIES: Final = 8


def readable(
    repo: Repository,
    infos: Iterable[RunInfo],
    unreadable: list[UnreadableRun],
    work: Callable[[RunInfo], T],
) -> Iterator[T]:
    """Yield what ``work`` makes of each run; those that it cannot read join ``unreadable``.

    One that went on since it was listed, so that its head may be forgotten, is taken as it is now.
    One that was deleted is left out.
    """
    for info in infos:
        try:
            yield from _tried(repo, info, work)
        except (CorruptionError, UnsupportedFormatError) as error:
            unreadable.append(UnreadableRun(info.name, error))


def _tried(repo: Repository, info: RunInfo, work: Callable[[RunInfo], T]) -> list[T]:
    for _ in range(_MOST_TRIES):
        try:
            return [work(info)]
        except NotFoundError:
            try:
                heads = repo.log(info.name, limit=1)
            except NotFoundError:
                heads = []
            if not heads:
                return []
            head = heads[0]
            info = info.model_copy(update={"head": head, "updated_at": head.created_at})
    return [work(info)]
