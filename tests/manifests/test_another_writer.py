"""docs/format.md is enough to give values the addresses that they have in a store."""

from __future__ import annotations

import ast
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import TreeParameters
from tests.golden import samples
from tests.golden.regenerate import VALUES
from tests.manifests import another_writer
from tests.manifests.another_reader import Object, Values
from tests.manifests.another_writer import DEFAULTS, Writer
from tests.manifests.classes import registry
from tests.manifests.memory import Memory
from tests.manifests.strategies import large_containers, values

EXAMPLES = settings().max_examples


class Kept(Memory):
    """What Hive made of a value, for the other reader."""

    def get(self, link: Any) -> Object:
        found = self.objects[link]
        return Object(link, found.links, found.payload)


def check(value: Any, parameters: TreeParameters | None = None) -> None:
    sizes = (parameters or TreeParameters()).to_header()
    for state in (False, True):
        kept = Kept(registry())
        address = kept.save(value, state=state, parameters=parameters)
        read = Values(kept).of(address)
        assert Writer(sizes).address(read, state=state) == bytes(address)


def test_it_imports_nothing_of_hive() -> None:
    tree = ast.parse(Path(another_writer.__file__).read_text())
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [
        each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names
    ]
    others = {str(name).partition(".")[0] for name in names} - sys.stdlib_module_names
    assert others == {"blake3", "cbor2", "pyfastcdc", "tests"}


def test_it_knows_the_parameters_of_new_stores() -> None:
    assert DEFAULTS == TreeParameters().to_header()


def test_it_gives_the_golden_addresses() -> None:
    golden = json.loads(VALUES.read_text())
    for name, value in {**samples.values(), **samples.trees()}.items():
        kept = Kept(registry())
        read = Values(kept).of(kept.save(value))
        for title, state in ((name, False), (f"{name}, as a state", True)):
            found = Writer().address(read, state=state).hex()
            assert found == golden["addresses in new stores"][title], title


EDGES = {
    "texts about as long as one piece may be": ["a" * size for size in range(8_186, 8_196)],
    "byte strings about as long as that": [b"a" * size for size in range(8_190, 8_196)],
    "bytearrays about as long as that": [bytearray(size) for size in range(8_190, 8_196)],
    "a small dict of many entries": {"dict": {f"key {n:02}": "x" * 97 for n in range(33)}},
    "dicts about as large as one piece may be": [
        {f"key {n}": "x" * size for n in range(32)} for size in range(110, 130)
    ],
    "dicts with long keys": [{"k" * size: 1, "j" * 4_000: 2} for size in range(4_180, 4_200)],
    "items about as long as may stand inside": ["x" * size for size in range(58, 68)],
    "items that hold links": [[["y" * 70, n] for n in range(200)], {"all": ["z" * 70]}],
    "a list of three levels": [{"n": n, "text": "text " * (n % 20)} for n in range(6_000)],
    "a dict of three levels": {f"key {n * 7_919 % 9_000}": n for n in range(9_000)},
    "a very long byte string": random.Random(1).randbytes(2_500_000),
    "an object with 480 links": [[f"{row} {n} " * 20 for n in range(15)] for row in range(32)],
}


@pytest.mark.parametrize("name", EDGES)
def test_it_draws_the_same_lines(name: str) -> None:
    check(EDGES[name])


@given(st.one_of(values(), large_containers()))
@settings(max_examples=EXAMPLES)
def test_it_gives_any_value_the_address_that_hive_does(value: Any) -> None:
    check(value)


@given(st.one_of(values(), large_containers()))
@settings(max_examples=EXAMPLES // 2)
def test_it_does_so_with_other_parameters(value: Any) -> None:
    check(
        value,
        TreeParameters(
            **{"inline_item": 20, "whole_dict": 200, "inline_entry": 40, "short_items": 4},
            **{"run_least": 2, "run_target": 3, "entry_target": 2, "run_most": 6, "run_bytes": 300},
        ),
    )
