"""Equal values have equal addresses, in every process; values of other types have others."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manifests.classes import registry
from tests.manifests.memory import root_of
from tests.manifests.sameness import portrait
from tests.manifests.strategies import keys, values
from tests.manifests.test_sameness import ALIKE

PROJECT = Path(__file__).resolve().parents[2]
PROCESSES = 20
EXAMPLES = settings().max_examples
SCRIPT = """
import hashlib
from tests.golden.samples import values
from tests.manifests.classes import registry
from tests.manifests.memory import root_of
found = [root_of(value, registry()) for value in (*values().values(), set(map(str, range(999))))]
print(hashlib.sha256(b"".join(found)).hexdigest(), hash("a"))
"""


def run_with_hash_seed(seed: int) -> tuple[str, str]:
    """Return what a new process with this PYTHONHASHSEED makes of the samples, and a hash there."""
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(PROJECT)}
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    ).stdout
    digest, hashed = output.split()
    return digest, hashed


def test_addresses_do_not_depend_on_the_hash_seed(seed: int) -> None:
    seeds = random.Random(seed).sample(range(2**32), PROCESSES)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(run_with_hash_seed, seeds))
    assert len({hashed for _, hashed in results}) > 1, "the seeds changed nothing"
    assert len({digest for digest, _ in results}) == 1


@given(values())
def test_a_copy_has_the_same_address(value: Any) -> None:
    known = registry()
    # Objects that stand twice in one value are two in its copy, or the reverse.
    twice, copied = [value, value], [copy.deepcopy(value), copy.deepcopy(value)]
    assert root_of(twice, known) == root_of(copied, known)


@given(st.lists(keys(), max_size=60), st.randoms(use_true_random=False))
def test_a_set_has_one_address_whatever_its_history(members: list[Any], dice: Any) -> None:
    known = registry()
    unique = list({repr(portrait(member)): member for member in members}.values())
    first = set(unique)
    unique = list(first)  # of members that Python takes for equal, a set keeps the first
    dice.shuffle(unique)
    second: set[Any] = set(range(1_000, 1_000 + dice.randrange(500)))
    grown = set(second)
    for member in unique:
        second.add(member)
    second -= grown - first
    assert root_of(first, known) == root_of(second, known)
    assert root_of(frozenset(first), known) == root_of(frozenset(second), known)


@settings(max_examples=EXAMPLES // 5)
@given(st.integers(1, 600), st.randoms(use_true_random=False))
def test_a_large_set_has_one_address_whatever_its_history(count: int, dice: Any) -> None:
    members = [f"member {number}" for number in range(count)]
    shuffled = dice.sample(members, count)
    assert root_of(set(members)) == root_of(set(shuffled))


@pytest.mark.parametrize("name", ALIKE)
def test_values_of_other_types_have_other_addresses(name: str) -> None:
    one, other = ALIKE[name]
    assert root_of(one, registry()) != root_of(other, registry())


def test_the_order_of_keys_is_part_of_a_value() -> None:
    pairs = [(f"key {number}", number) for number in range(500)]
    assert root_of(dict(pairs)) != root_of(dict(reversed(pairs)))
