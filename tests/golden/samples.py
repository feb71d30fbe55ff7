"""The values whose addresses are pinned: every tag, every scalar, every kind of tree."""

from __future__ import annotations

import datetime as dt
import decimal
import pathlib
import random
import uuid
import zoneinfo
from typing import Any

import numpy as np

from manifests.unregistered import UnregisteredValue
from tests.manifests.classes import (
    Colour,
    Document,
    Level,
    Message,
    Money,
    Open,
    Point,
    Right,
    Secretive,
    Span,
    Step,
    Word,
)

__all__ = ["chunked", "trees", "values"]


def values() -> dict[str, Any]:
    """Return small values by name; each is one object, or few."""
    secretive = Secretive(number=2)
    secretive._token = "t"
    east = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    return {
        "none": None,
        "false": False,
        "true": True,
        "integers": [0, 23, 24, 255, 256, 65_535, 65_536, 2**32, 2**64 - 1, 2**64, 2**200],
        "negative integers": [-1, -24, -25, -256, -257, -(2**64), -(2**64) - 1, -(2**200)],
        "floats": [0.0, -0.0, 1.5, 1e300, 5e-324, float("inf"), float("-inf"), float("nan")],
        "texts": ["", "a", "\N{SNOWMAN}", "\N{GRINNING FACE}", "x" * 23, "x" * 24, "x" * 256],
        "bytes": [b"", b"\x00\xff", b"b" * 24],
        "bytearray": bytearray(b"abc"),
        "list": [1, [2, []]],
        "tuple": (1, (2, ()), ["x"]),
        "dict of texts": {"b": 1, "a": {"c": None}, "": 0},
        "dict of other keys": {1: "a", (1, "x"): "b", None: "c", b"k": "d", float("nan"): "e"},
        "dict of frozensets": {frozenset({1, "a"}): 1, True: 2, 2.5: 3},
        "empty containers": [[], (), {}, set(), frozenset()],
        "set": {3, 1, 2, "a", b"a", (1, 2)},
        "frozenset": frozenset({"b", "a", frozenset({0})}),
        "complex": [1 + 2j, complex(-0.0, float("inf"))],
        "decimals": [decimal.Decimal(text) for text in ("1.10", "-0E-7", "NaN", "sNaN5", "1E+9")],
        "uuid": uuid.UUID("12345678-1234-5678-1234-567812345678"),
        "datetimes": [
            dt.datetime(2024, 2, 29, 23, 59, 59, 999_999),
            dt.datetime(2024, 10, 27, 2, 30, tzinfo=berlin, fold=1),
            dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
            dt.datetime(2024, 1, 1, tzinfo=east),
        ],
        "date": dt.date(1, 1, 1),
        "times": [dt.time(1, 2, 3, 4), dt.time(1, 2, tzinfo=dt.UTC, fold=1)],
        "timedeltas": [dt.timedelta(-1, 5, 7), dt.timedelta.max],
        "time zones": [dt.UTC, east, berlin],
        "paths": [
            pathlib.PurePosixPath("/a/b"),
            pathlib.PureWindowsPath("c:/a"),
            pathlib.Path("x"),
        ],
        "arrays": [
            np.arange(6, dtype="<i4").reshape(2, 3),
            np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3)),
            np.array(7, dtype="u1"),
            np.zeros((0, 3), dtype="<f4"),
            np.array(["2024-01-01", "NaT"], dtype="<M8[D]"),
            np.array(["ab", ""], dtype="<U2"),
            np.array([(1, [1.0, 2.0])], dtype=[("a", "<i2"), ("b", "<f4", (2,))]),
        ],
        "numpy scalars": [np.float32(0.5), np.int64(-1), np.bool_(True), np.str_("x")],
        "enums": [Colour.RED, Word.YES, Level.HIGH, Right.READ, Right.READ | Right.RUN, Right(0)],
        "dataclasses": [Step("a", 1, ["n"], Step("b")), Point(1, 2), Span(1)],
        "named tuple": Message("user", "hello"),
        "models": [
            Document(title="t"),
            Document(title="t", body=1, tags=[]),
            Open.model_validate({"number": 1, "more": 2}),
            secretive,
        ],
        "custom": Money(5, "EUR"),
        "unregistered": UnregisteredValue("elsewhere.Thing", 3, {"x": [1]}),
        "split dict": {"small": 1, "large": "x" * 5_000, "other": ["y" * 70]},
        "split registered": Step("s", 1, ["z" * 6_000]),
    }


def trees() -> dict[str, Any]:
    """Return large values by name."""
    dice = random.Random(20_240_229)
    words = [f"word{number}" for number in range(2_000)]
    shuffled = [f"key {number}" for number in range(10_000)]
    dice.shuffle(shuffled)
    return {
        "list of 10,000 integers": list(range(10_000)),
        "tuple of messages": tuple({"n": n, "text": "m" * (n % 150)} for n in range(500)),
        "dict of 10,000 in order": {f"key {number:05}": number for number in range(10_000)},
        "dict of 10,000 shuffled": dict.fromkeys(shuffled, 1),
        "dict of integers": {number: str(number) for number in range(1_000)},
        "set of 1,000": set(range(1_000)),
        "long text": " ".join(dice.choice(words) for _ in range(40_000)),
        "long bytes": bytes(dice.getrandbits(8) for _ in range(100_000)),
        "very long bytes": b"".join(b"%07d" % number for number in range(300_000)),
    }


def chunked() -> bytes:
    """Return the bytes whose chunk boundaries are pinned."""
    dice = random.Random(7)
    return bytes(dice.getrandbits(8) for _ in range(400_000))
