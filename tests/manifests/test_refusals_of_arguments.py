"""Arguments of the wrong type or sign: a clear error, never Python's own or an empty answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cas.errors import InvalidInputError, NotFoundError
from manifests import Registry, Repository

NO_CLASS: Any = 5


USES: dict[str, Callable[[Any], Any]] = {
    "value": lambda repo: repo.value("r", 5),
    "forget": lambda repo: repo.forget(5),
    "put_pending": lambda repo: repo.put_pending("r", 1, [1]),
    "log": lambda repo: repo.log("r", limit=-1),
    "log of a text": lambda repo: repo.log("r", limit="1"),
    "diff": lambda repo: repo.diff("r", "r", limit=-1),
    "compare": lambda repo: repo.compare("r", "r", limit=-1),
    "search": lambda repo: repo.search("x", runs=["r"], limit=-1),
    "keys": lambda repo: repo.keys("r", limit=-1),
    "register": lambda repo: Registry().register(NO_CLASS),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_argument_that_cannot_be_used_is_refused(
    repo: Repository, use: Callable[[Any], Any]
) -> None:
    repo.commit("r", {"a": 1})
    with pytest.raises(InvalidInputError):
        use(repo)


def test_a_reference_where_a_run_belongs_is_told_from_a_run_that_is_not_there(
    repo: Repository,
) -> None:
    repo.commit("trip", {"a": 1})
    for name in ("trip@99", "trip~1"):
        with pytest.raises(NotFoundError, match="but a run 'trip': this takes a run, not one of"):
            repo.log(name)
    with pytest.raises(NotFoundError, match="there is no run 'trap@99'; list the runs"):
        repo.log("trap@99")


def test_a_key_that_is_not_there_comes_with_those_that_are(repo: Repository) -> None:
    repo.commit("r", {"messages": [], "a key": 1, 7: {f"k{n}": n for n in range(500)}})
    with pytest.raises(NotFoundError, match=r"; there is messages, \['a key'\], \[7\]$"):
        repo.value("r", "mesages")
    with pytest.raises(NotFoundError, match=r"; there is k0, .*, k11 and more$"):
        repo.value("r", "[7].x")
    with pytest.raises(NotFoundError, match=r"state\['a key'\] has no \.x$"):
        repo.value("r", "['a key'].x")
