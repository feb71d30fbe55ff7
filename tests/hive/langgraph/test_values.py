"""Values: what LangGraph's serializer knows comes back as it was, and nothing hostile is run."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import json
import os
import pathlib
import pickle
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import numpy as np
import ormsgpack
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from langgraph.store.base import Item
from langgraph.types import Command, Interrupt, Overwrite, Send, TimeoutPolicy

from hive.adapters.langgraph import HiveSaver, strangers
from hive.adapters.langgraph.codecs import MESSAGES, Opaque, ThreadRegistry
from hive.adapters.langgraph.serializer import StrictSerializer, serializer_for, serving
from hive.adapters.langgraph.verbatim import VerbatimSerializer
from hive.errors import CorruptionError, HiveError, InvalidInputError
from manifests import Redaction, Repository, UnregisteredValue
from tests.hive.langgraph.graphs import config_of
from tests.manifests.memory import Memory

# One test looks at the warning that comes once of each class.
pytestmark = pytest.mark.filterwarnings("ignore:values of .* are stored with LangGraph")

MOMENT = dt.datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=ZoneInfo("Europe/Berlin"))
VALUES: dict[str, Any] = {
    "human": HumanMessage("hello", id="1", name="bob"),
    "multimodal": HumanMessage(
        [{"type": "image_url", "image_url": {"url": "data:" + "A" * 9_000}}]
    ),
    "ai": AIMessage(
        "",
        tool_calls=[{"name": "f", "args": {"a": [1, None]}, "id": "c"}],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={"model": "m"},
    ),
    "chunk": AIMessageChunk(content="par", id="x"),
    "system": SystemMessage("be good"),
    "tool": ToolMessage("done", tool_call_id="c", artifact={"raw": b"\0" * 9_000}, status="error"),
    "function": FunctionMessage(content="r", name="f"),
    "chat": ChatMessage(content="c", role="critic"),
    "remove": RemoveMessage(id="1"),
    "extra": HumanMessage("x", custom={"k": 1}),
    "document": Document("page", metadata={"source": "x"}, id="d"),
    "send": Send("node", {"a": HumanMessage("x")}, timeout=TimeoutPolicy(run_timeout=2.0)),
    "command": Command(update={"a": 1}, goto=[Send("n", 1), "m"], resume={"i": 2}),
    "interrupt": Interrupt({"q": (1, 2)}, id="i"),
    "overwrite": Overwrite([1, 2]),
    "snapshot": _DeltaSnapshot([HumanMessage("x")]),
    "item": Item(value={"a": 1}, key="k", namespace=("n",), created_at=MOMENT, updated_at=MOMENT),
    "python": [
        uuid.UUID(int=7),
        decimal.Decimal("1.10"),
        {1, "a"},
        frozenset({2}),
        collections.deque([1, 2], maxlen=3),
        MOMENT,
        MOMENT.date(),
        dt.timedelta(seconds=1),
        ZoneInfo("UTC"),
        pathlib.PurePosixPath("/a/b"),
        re.compile("a+", re.I),
        ipaddress.ip_address("::1"),
        ipaddress.ip_network("10.0.0.0/8"),
        (1, [2.5, b"b", bytearray(b"c")], {"k": None, 3: True}),
        1 << 80,
    ],
}


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[HiveSaver]:
    with HiveSaver(tmp_path / "home") as opened:
        yield opened


def round_trip(saver: HiveSaver, value: Any, thread: str = "t") -> Any:
    """Save a value in a channel and as a write; return what both come back as, if it is one."""
    checkpoint = {
        **empty_checkpoint(),
        "channel_values": {"value": value},
        "channel_versions": {"value": 1},
    }
    config = config_of(thread, checkpoint_ns="")
    stored = saver.put(config, checkpoint, {"source": "loop", "step": 0}, {"value": 1})  # type: ignore[arg-type]
    saver.put_writes(stored, [("value", value)], "task")
    found = saver.get_tuple(stored)
    assert found is not None
    assert found.pending_writes is not None
    first, second = found.checkpoint["channel_values"]["value"], found.pending_writes[0][2]
    assert repr(first) == repr(second)
    return first


@pytest.mark.parametrize("name", VALUES)
def test_what_langgraph_knows_comes_back_as_it_was(saver: HiveSaver, name: str) -> None:
    value = VALUES[name]
    found = round_trip(saver, value)
    assert found == value
    assert type(found) is type(value)
    assert repr(found) == repr(value)
    if isinstance(value, pydantic.BaseModel):
        assert found.model_fields_set == value.model_fields_set
        assert found.model_dump() == value.model_dump()


BLOCKS = st.fixed_dictionaries({"type": st.just("text"), "text": st.text()})


@given(
    st.sampled_from([HumanMessage, AIMessage, SystemMessage]),
    st.text(max_size=40) | st.lists(BLOCKS, max_size=3),
    st.none() | st.text(max_size=9),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
)  # fmt: skip
def test_any_message_comes_back(cls: Any, content: Any, name: Any, metadata: Any) -> None:
    message = cls(content, name=name, response_metadata=metadata)
    memory = Memory(ThreadRegistry())
    found = memory.read(memory.save(message))
    assert (found, found.model_fields_set) == (message, message.model_fields_set)
    assert found.__dict__.keys() == message.__dict__.keys()


@pytest.mark.parametrize("content", [("a",), ("a", "b"), (), ("long " * 99,), ({"type": "text"},)])
def test_a_tuple_in_the_place_of_a_text_comes_back(content: Any) -> None:
    """Nothing in LangChain refuses one that is put there later; long texts are stored in one."""
    message = HumanMessage("")
    message.content = content
    memory = Memory(ThreadRegistry())
    found = memory.read(memory.save(message))
    assert (found.content, type(found.content)) == (content, tuple)


REDACTED: dict[str, tuple[Any, Any]] = {
    "deque": (collections.deque([1, 2], maxlen=3), collections.deque(["***"] * 2, maxlen=3)),
    "pattern": (re.compile("a+", re.I), re.compile("a+", re.I)),
    "address": (ipaddress.ip_address("::1"), ipaddress.ip_address("::1")),
    "short text": (HumanMessage("text"), HumanMessage("***")),
    "long text": (HumanMessage("text " * 99), HumanMessage("***")),
    "with an id": (HumanMessage("text " * 99, id="1"), HumanMessage("***", id="***")),
    "document": (Document("page " * 99), Document("***")),
    "bytes of the serializer": (Opaque("bytes", b"abc"), b"abc"),
}


@pytest.mark.parametrize("name", REDACTED)
def test_what_is_redacted_inside_keeps_its_form(name: str) -> None:
    """A rule reaches what people see of a value, and nothing of how it is stored."""
    value, expected = REDACTED[name]
    seen = []

    def replace(path: str, part: Any) -> str:
        seen.append((path, type(part)))
        return "***"

    for pattern in ("n.*", "n.*.**", "n.**.*"):
        memory = Memory(ThreadRegistry())
        with serving(StrictSerializer(MESSAGES)):
            found = memory.read(memory.save({"n": value}, redaction=Redaction([pattern], replace)))
        assert (repr(found), type(found["n"])) == (repr({"n": expected}), type(expected))
    assert {kind for _, kind in seen} <= {str, int}
    if name == "deque":
        assert seen[:2] == [("state['n'][0]", int), ("state['n'][1]", int)]
    memory = Memory(ThreadRegistry())
    untouched = Redaction(["n.content.*", "n.page_content.*"], replace)
    assert memory.save({"n": value}) == memory.save({"n": value}, redaction=untouched)


@pytest.mark.parametrize("name", ["", "content"])
def test_an_extra_attribute_that_would_hide_another_one_is_refused(name: str) -> None:
    message = HumanMessage("text")
    assert message.model_extra is not None
    message.model_extra[name] = 1
    with pytest.raises(InvalidInputError, match="has the name of another one"):
        Memory(ThreadRegistry()).save(message)


def test_every_kind_of_message_has_a_codec() -> None:
    from langgraph._internal._serde import curated_core_allowlist

    known = {name for _module, name in curated_core_allowlist()} - {
        "BaseMessage",
        "BaseMessageChunk",
    }
    assert known <= MESSAGES.keys()


def test_a_messages_list_costs_its_new_messages(saver: HiveSaver) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:" + os.urandom(60_000).hex()}}
    messages: list[Any] = [
        HumanMessage([image], id="0"),
        ToolMessage("x" * 30_000, tool_call_id="c"),
    ]
    sizes = []
    parent: Any = config_of("t", checkpoint_ns="")
    for number in range(6):
        messages = [*messages, AIMessage(f"answer {number} " * 9, id=f"a{number}")]
        checkpoint: Any = {
            **empty_checkpoint(),
            "channel_values": {"messages": messages},
            "channel_versions": {"messages": number + 1},
        }
        before = saver.repository.stats().stored_bytes
        parent = saver.put(parent, checkpoint, {"source": "loop"}, {"messages": number + 1})
        sizes.append(saver.repository.stats().stored_bytes - before)
    assert sizes[0] > 60_000
    assert max(sizes[1:]) < 2_500
    before = saver.repository.stats().stored_bytes
    round_trip(saver, [messages[0], HumanMessage("another thread")], "other")
    assert saver.repository.stats().stored_bytes - before < 2_500


@pytest.mark.parametrize("cls", [AIMessage, Document])
def test_what_a_node_returned_is_shared_with_the_state(saver: HiveSaver, cls: Any) -> None:
    """The state has the same text in a message that meanwhile got an id."""
    texts = [os.urandom(250).hex() for _ in range(20)]
    name = "content" if cls is AIMessage else "page_content"
    checkpoint: Any = {**empty_checkpoint(), "channel_values": {}, "channel_versions": {}}
    stored = saver.put(config_of("t", checkpoint_ns=""), checkpoint, {"source": "loop"}, {})
    before = saver.repository.stats().stored_bytes
    saver.put_writes(stored, [("found", [cls(**{name: text}) for text in texts])], "task")
    written = saver.repository.stats().stored_bytes
    found = [cls(**{name: text}, id=str(at)) for at, text in enumerate(texts)]
    checkpoint = {
        **empty_checkpoint(),
        "channel_values": {"found": found},
        "channel_versions": {"found": 1},
    }
    saver.put(stored, checkpoint, {"source": "loop"}, {"found": 1})
    assert written - before > 20 * 250
    assert saver.repository.stats().stored_bytes - written < 20 * 250 / 2


# -- classes of the application -------------------------------------------------------------------


@dataclasses.dataclass
class Plan:
    steps: list[str]


class Mood(enum.Enum):
    GOOD = 1


class Profile(pydantic.BaseModel):
    name: str
    plan: Any = None


def test_classes_that_were_named_come_back_as_themselves(tmp_path: Path) -> None:
    value = {"profile": Profile(name="x", plan=Plan(["a"])), "mood": Mood.GOOD}
    with HiveSaver(tmp_path, types=[Plan, Profile, Mood]) as saver:
        assert round_trip(saver, value) == value
    with HiveSaver(tmp_path, types={f"{__name__}.Plan": Plan}) as fewer:
        with pytest.raises(
            InvalidInputError, match=r"thread 't', checkpoint .* channel 'value'.*types="
        ):
            fewer.get_tuple(config_of("t"))


def test_others_come_back_as_data_and_that_is_said(
    saver: HiveSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "_warned", set())
    with pytest.warns(UserWarning, match=r"types=\[Profile\] to HiveSaver, to get"):
        assert round_trip(saver, Profile(name="x")) == {"name": "x", "plan": None}


def test_all_classes_of_a_value_are_named_at_once(
    saver: HiveSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "_warned", set())
    value = Profile(name="x", plan={"moods": [Plan(["a"]), Mood.GOOD], "none": None})
    with pytest.warns(UserWarning, match=r"Profile are stored.*types=\[Profile, Plan, Mood\]"):
        round_trip(saver, value)


class Tuned(dict[str, int]):
    pass


def test_no_advice_is_given_that_fails(saver: HiveSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    """``types`` takes no class that does not tell its fields."""
    monkeypatch.setattr(strangers, "_warned", set())
    with pytest.warns(UserWarning, match=r"plain data in place of Tuned.*registry\.register"):
        assert round_trip(saver, Tuned(a=1)) == {"a": 1}
    with pytest.raises(InvalidInputError, match=r"plain data in place of object.*register"):
        round_trip(saver, object())
    saver.repository.registry.register(Tuned, to_fields=dict, from_fields=Tuned)
    assert type(round_trip(saver, Tuned(a=1), "other")) is Tuned


@pytest.mark.filterwarnings("error")
def test_nobody_is_warned_of_what_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers, "_warned", set())
    serde = JsonPlusSerializer(allowed_msgpack_modules=[Profile])
    with HiveSaver(tmp_path, serde=serde) as saver:
        assert round_trip(saver, Profile(name="x")) == Profile(name="x")
        plans = saver.with_allowlist([(__name__, "Plan")])
        assert isinstance(plans, HiveSaver)
        assert round_trip(plans, Plan(["a"])) == Plan(["a"])


def test_a_class_that_is_named_later_comes_back_from_then_on(tmp_path: Path) -> None:
    value = [Profile(name="x"), Plan(["a"]), Mood.GOOD]
    with HiveSaver(tmp_path) as saver:
        assert round_trip(saver, value) == [{"name": "x", "plan": None}, {"steps": ["a"]}, 1]
    with HiveSaver(tmp_path, types={"Person": Profile, "Plan": Plan, "Mood": Mood}) as saver:
        found = saver.get_tuple(config_of("t"))
        assert found is not None
        assert found.checkpoint["channel_values"]["value"] == value


def test_named_classes_come_back_from_what_no_tree_takes(tmp_path: Path) -> None:
    """A lone surrogate sends the whole channel through the serializer."""
    with HiveSaver(tmp_path, types=[Profile]) as saver:
        assert round_trip(saver, ["\ud800", Profile(name="x")])[1] == Profile(name="x")


def test_a_serializer_that_would_encrypt_a_part_is_refused(tmp_path: Path) -> None:
    class Cipher:
        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "none", plaintext

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return ciphertext

    with pytest.raises(InvalidInputError, match=r"cannot encrypt.*encrypted disk"):
        HiveSaver(tmp_path / "home", serde=EncryptedSerializer(Cipher()))
    assert not (tmp_path / "home").exists()


def test_an_allowlist_lets_them_back(saver: HiveSaver) -> None:
    clone = saver.with_allowlist([(__name__, "Profile")])
    assert clone is not saver
    assert isinstance(clone, HiveSaver)
    assert round_trip(clone, Profile(name="x")) == Profile(name="x")
    assert round_trip(saver, Profile(name="x")) == {"name": "x", "plan": None}


def test_what_no_tree_takes_goes_through_the_serializer(saver: HiveSaver) -> None:
    deep: Any = "end"
    for _ in range(150):
        deep = [deep]
    assert round_trip(saver, {"deep": deep}) == {"deep": deep}
    assert "broken" in round_trip(saver, "broken \ud800 text")
    with pytest.raises(InvalidInputError, match=r"thread 't', checkpoint .*neither by"):
        round_trip(saver, {"lock": object()})


def test_the_repository_of_a_saver_reads_what_the_serializer_stored(saver: HiveSaver) -> None:
    config = saver.put(
        config_of("t", checkpoint_ns=""), empty_checkpoint(), {"source": "input"}, {}
    )
    checkpoint_id = config["configurable"]["checkpoint_id"]
    saver.put_writes(config, [("__error__", ValueError("no")), ("text", "\ud83d")], "task")
    found = {write.name: write.value for write in saver.repository.pending("t", checkpoint_id)}
    assert found == {"__error__": "ValueError('no')", "text": "?"}
    saver.repository.commit("by hand", {"value": ValueError("no")})
    assert saver.repository.restore("by hand") == {"value": "ValueError('no')"}


def test_metadata_that_no_tree_takes_go_through_the_serializer(saver: HiveSaver) -> None:
    deep: list[Any] = []
    for _ in range(150):
        deep = [deep]
    metadata: Any = {"source": "input", "step": -1, "asked": "half \ud83d", "deep": deep, "n": 1}
    checkpoint = {**empty_checkpoint(), "channel_values": {"text": "\ud83d"}}
    versions: Any = {"text": 1}
    checkpoint["channel_versions"] = versions
    config = saver.put(config_of(checkpoint_ns=""), checkpoint, metadata, versions)  # type: ignore[arg-type]
    found = saver.get_tuple(config)
    assert found is not None
    assert found.metadata == {**metadata, "asked": "half ?"}
    assert found.checkpoint["channel_values"] == {"text": "?"}
    assert [item.config for item in saver.list(None, filter={"asked": "half ?", "n": 1})] == [
        config
    ]


def test_arrays_come_back(saver: HiveSaver) -> None:
    found = round_trip(saver, np.arange(6.0).reshape(2, 3))
    assert found.dtype == np.float64
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]


@dataclasses.dataclass
class Table:
    rows: Any


@pytest.mark.parametrize(
    "wrap",
    [lambda rows: rows, lambda rows: {"k": [rows]}, Table],
    ids=["alone", "in a dict", "in a class"],
)
def test_what_could_not_be_read_again_is_refused_when_it_is_saved(
    saver: HiveSaver, wrap: Any
) -> None:
    """Of an array of objects, LangGraph's serializer writes their addresses in this process."""
    first = round_trip(saver, {"fine": 1})
    rows = np.array([1, "a"], dtype=object)
    with pytest.raises(InvalidInputError, match="cannot be stored"):
        round_trip(saver, wrap(rows))
    config = config_of("t", checkpoint_ns="")
    assert [found.checkpoint["channel_values"]["value"] for found in saver.list(config)] == [first]
    newest = saver.get_tuple(config)
    assert newest is not None
    with pytest.raises(InvalidInputError, match="cannot be stored"):
        saver.put_writes(newest.config, [("value", wrap(rows))], "other")
    again = saver.get_tuple(config)
    assert again == newest


@dataclasses.dataclass
class Link:
    """Counts how often one is made."""

    inner: Any
    made: ClassVar[int] = 0

    def __post_init__(self) -> None:
        Link.made += 1


def made_by(serializer: Any, depth: int) -> int:
    value: Any = np.arange(3)
    for _ in range(depth):
        value = Link(value)
    written = serializer.dumps_typed(value)
    Link.made = 0
    serializer.loads_typed(written)
    return Link.made


def test_no_value_is_made_once_for_each_record_around_it() -> None:
    assert [made_by(serializer_for(None, [Link], {}), depth) for depth in (1, 300)] == [1, 300]


# -- hostile bytes --------------------------------------------------------------------------------


def planted(saver: HiveSaver, kind: str, data: bytes) -> Any:
    """Put bytes where the serializer's own would be, and read them."""
    return round_trip(saver, Opaque(kind, data))


def extension(code: int, *parts: Any) -> bytes:
    return ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that exists once a shell was run."""
    file = tmp_path / "was-run"
    monkeypatch.setenv("CANARY", str(file))
    yield file
    assert not file.exists()


class _Runs:
    def __reduce__(self) -> Any:
        return os.system, ('touch "$CANARY"',)


@pytest.mark.parametrize("code", range(8))
def test_a_record_that_names_a_function_is_data(saver: HiveSaver, canary: Path, code: int) -> None:
    command = 'touch "$CANARY"'
    for argument in (command, [command], {"command": command}):
        found, said = None, ""
        try:
            found = planted(saver, "msgpack", extension(code, "os", "system", argument, "system"))
        except HiveError as error:
            said = str(error)
        assert ("thread 't', checkpoint " in said and "channel 'value'" in said) or found in (
            argument,
            _DeltaSnapshot(["os", "system", argument, "system"]),
        )


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("pickle", pickle.dumps(_Runs())),
        ("unknown", b"x"),
        ("msgpack", b"\xc1"),
        ("msgpack", extension(6, "nonsense", (2,), "C", b"1234")),
        ("msgpack", extension(99, "x")),
        ("msgpack", ormsgpack.packb(ormsgpack.Ext(0, b"\xc1"))),
        ("json", b"{"),
        ("json", b"[" * 100_000),
    ],
)
def test_bytes_that_cannot_be_read_are_an_error_and_never_none(
    saver: HiveSaver, canary: Path, kind: str, data: bytes
) -> None:
    with pytest.raises(InvalidInputError, match=r"thread 't', checkpoint .*channel 'value'"):
        planted(saver, kind, data)


@pytest.mark.parametrize("code", range(6))
def test_a_record_of_no_class_is_kept_as_it_is(
    code: int, caplog: pytest.LogCaptureFixture, canary: Path
) -> None:
    """LangGraph would log what stands in the places of module and class: to a terminal, perhaps."""
    for odd in (
        (5, "\x1b[2J", "x", "y"),
        ("os", None, "x"),
        (["\x1b[2J"], "a", 1, "m"),
        ("os",),
        (),
    ):
        data = extension(code, *odd)
        found = VerbatimSerializer().loads_typed(("msgpack", data))
        assert isinstance(found, Opaque)
        assert (found.kind, found.data) == ("msgpack", data)
    assert caplog.records == []


def test_a_json_record_builds_messages_and_nothing_else(saver: HiveSaver, canary: Path) -> None:
    record = {"lc": 2, "type": "constructor", "id": ["os", "system"], "args": ['touch "$CANARY"']}
    assert planted(saver, "json", json.dumps(record).encode()) == record
    prompt = {"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "PromptTemplate"],
              "kwargs": {"template": "{{x}}", "template_format": "jinja2"}}  # fmt: skip
    assert planted(saver, "json", json.dumps(prompt).encode()) == prompt
    message = {"lc": 1, "type": "constructor", "kwargs": {"content": "old"},
               "id": ["langchain", "schema", "messages", "HumanMessage"]}  # fmt: skip
    assert planted(saver, "json", json.dumps(message).encode()) == HumanMessage("old")


def test_a_forged_name_of_a_class_is_refused(saver: HiveSaver) -> None:
    with Repository.open(saver.repository.home) as forger:
        value = UnregisteredValue("os.system", 1, "touch x")
        execution: dict[str, Any] = {
            "names": [[], [], []],
            "versions": [],
            "seen": [],
            "metadata": [],
        }
        forger.commit("t", {"value": value}, key="1", parent=None, execution=execution)
    with pytest.raises(InvalidInputError, match=r"channel 'value'.*'os.system'"):
        saver.get_tuple(config_of("t"))


@pytest.mark.parametrize(
    "odd",
    [
        {"more": 5},
        {"more": [1]},
        {"seen": [[7, "1"]]},
        {"seen": [[0, "1", 0]]},
        {"seen": [5]},
        {"updated": [7]},
        {"updated": 5},
        {"ts": 10**30},
        {"names": [["a"], ["n"], [["no name"]]]},
        {"names": [[["no name"]], ["n"], ["m"]]},
    ],
    ids=repr,
)
def test_a_forged_record_is_damage(saver: HiveSaver, odd: dict[str, Any]) -> None:
    """It has the shape that a saver's have, as far as that is looked at before."""
    record = {
        "names": [["a"], ["n"], ["m"]],
        "versions": ["1"],
        "seen": [[0, "1"]],
        "updated": [0],
        "ts": 5,
        "metadata": [1],
    }
    with Repository.open(saver.repository.home) as forger:
        for thread, execution in (("good", record), ("odd", record | odd)):
            forger.commit(thread, {"a": 1}, key="1", parent=None, execution=execution)
    assert saver.get_tuple(config_of("good")) is not None
    with pytest.raises(CorruptionError):
        saver.get_tuple(config_of("odd"))


def test_runs_of_others_are_not_taken_for_threads(saver: HiveSaver) -> None:
    saver.repository.commit("t", {"n": 1})
    assert saver.get_tuple(config_of("t")) is None
    assert list(saver.list(None)) == []
    with pytest.raises(InvalidInputError, match=r"thread 't'.*no keys"):
        round_trip(saver, 1)


def test_the_strict_serializer_reads_what_it_writes() -> None:
    serializer = StrictSerializer(MESSAGES)
    with serving(serializer):
        for name, value in VALUES.items():
            if name not in ("python", "interrupt"):  # tuples become lists there
                assert serializer.loads_typed(serializer.dumps_typed(value)) == value
