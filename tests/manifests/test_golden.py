"""The format does not drift: addresses, bytes and boundaries are those of the golden files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cas.digest import Digest
from manifests.cbor import (
    ARRAY,
    BYTEARRAY,
    FROZENSET,
    LINK,
    NODE,
    PAIRS,
    REGISTERED,
    SCALAR,
    SET,
    TREE_DICT,
    TUPLE,
    tag_head,
)
from manifests.scalars import SCALAR_TYPES
from tests.golden import samples
from tests.golden.regenerate import PARAMETERS, VALUES, vectors
from tests.manifests.classes import registry
from tests.manifests.memory import Memory
from tests.manifests.sameness import assert_same

REMEDY = "stored bytes have changed: stores in use would lose all sharing, or could not be read"


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads(VALUES.read_text())


@pytest.fixture(scope="module")
def current() -> dict[str, Any]:
    return vectors()


@pytest.mark.parametrize(
    "part", ["parameters", "addresses", "addresses in new stores", "roots", "chunks"]
)
def test_nothing_has_drifted(part: str, golden: Any, current: dict[str, Any]) -> None:
    assert current[part].keys() == golden[part].keys()
    for name, expected in golden[part].items():
        assert current[part][name] == expected, f"{name}: {REMEDY}"


def test_stored_bytes_are_read_as_the_values_they_were(golden: Any) -> None:
    """From the bytes in the file, not from what the encoder makes today."""
    for name, value in samples.values().items():
        root = golden["roots"][name]
        memory = Memory(registry())
        memory.save(value, parameters=PARAMETERS)  # what it links to, if anything
        links = map(Digest.parse, root["links"])
        assert_same(memory.read(memory.put(bytes.fromhex(root["payload"]), *links)), value)


def test_every_tag_and_every_scalar_is_pinned() -> None:
    memory = Memory(registry())
    for value in (*samples.values().values(), *samples.trees().values()):
        memory.save(value)
    payloads = [item.payload for item in memory.objects.values()]
    for tag in (
        *(ARRAY, BYTEARRAY, FROZENSET, LINK, NODE, PAIRS),
        *(REGISTERED, SCALAR, SET, TREE_DICT, TUPLE),
    ):
        assert any(tag_head(tag) in payload for payload in payloads), tag
    for code, _ in SCALAR_TYPES.values():
        heads = [tag_head(SCALAR) + bytes([0x80 + size, code]) for size in range(2, 12)]
        assert any(head in payload for payload in payloads for head in heads), code


def test_one_changed_byte_would_be_noticed(golden: Any) -> None:
    """The comparison itself works."""
    memory = Memory(registry())
    assert str(memory.save([1, 2])) not in golden["addresses"].values()
    assert str(memory.save(None)) == golden["addresses"]["none"]
