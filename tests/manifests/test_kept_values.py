"""Values kept between restores: never another answer, and none decoded a third time."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cas.kept import KeptByNumber
from cas.records import RecordReader
from manifests import Registry, Repository
from manifests.cbor import loads_all
from manifests.kept import KeptValues
from manifests.template import Template
from tests.manifests.classes import Document, Step
from tests.manifests.sameness import assert_same


def registry() -> Registry:
    known = Registry()
    known.register(Document)
    known.register(Step)
    return known


def state(messages: int = 300) -> dict[str, Any]:
    return {
        "messages": [message(number) for number in range(messages)],
        "files": {f"f{number}.py": f"{number} text " * 400 for number in range(40)},
        "table": {f"key-{number:04}": number for number in range(500)},
        "todo": [{"text": "look", "done": False}, Step("s", notes=[1, [2]])],
        "mode": ("fast", [1]),
    }


def message(number: int) -> Any:
    if number % 3 == 0:
        return Document(title=f"t{number}", body={"long": "text " * 300, "n": [number]})
    return {"role": "user", "content": f"{number} " * 100, "meta": {"tags": ["a"], "at": 1.5}}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what tells how many payloads were decoded since it was asked last."""
    counts: list[int] = []

    def counting(payloads: Any, *args: Any, **options: Any) -> Any:
        counts.append(len(payloads))
        return loads_all(payloads, *args, **options)

    def since() -> int:
        total = sum(counts)
        counts.clear()
        return total

    monkeypatch.setattr("manifests.together.loads_all", counting)
    return since


def spoil(restored: dict[str, Any]) -> None:
    """Change a restored state in place, everywhere a caller could."""
    for item in restored["messages"]:
        if isinstance(item, Document):
            item.body["n"].append("spoilt")
            item.title = "spoilt"
        else:
            item["meta"]["tags"].append("spoilt")
            item["more"] = "spoilt"
    restored["messages"].reverse()
    restored["files"].clear()
    restored["table"]["key-0001"] = "spoilt"
    restored["todo"][1].notes[1].append("spoilt")
    restored["mode"][1].append("spoilt")


@pytest.mark.parametrize("kept_bytes", [0, 100_000, 32 * 1024 * 1024])
def test_every_restore_is_what_was_saved(tmp_path: Path, kept_bytes: int) -> None:
    saved = state()
    with Repository.open(tmp_path, registry=registry(), kept_bytes=kept_bytes) as repo:
        repo.commit("r", saved)
        for _ in range(6):
            restored = repo.restore("r")
            assert_same(restored, saved)
            spoil(restored)
        assert_same(repo.restore("r", keys=["messages", "mode"])["messages"], saved["messages"])


def test_a_state_that_was_decoded_twice_is_not_decoded_again(
    tmp_path: Path, decoded: Callable[[], int]
) -> None:
    with Repository.open(tmp_path, registry=registry()) as repo:
        repo.commit("r", state())
        repo.restore("r")
        whole = decoded()
        repo.restore("r")
        assert decoded() == whole
        repo.restore("r")
        assert decoded() < whole / 50
    with Repository.open(tmp_path, registry=registry(), kept_bytes=0) as repo:
        for _ in range(4):
            repo.restore("r")
            assert decoded() == whole, "the control: nothing is kept"


def test_of_a_state_that_does_not_fit_the_same_part_is_kept_each_time(
    tmp_path: Path, decoded: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    of = Template.of.__func__  # type: ignore[attr-defined]

    def counting(cls: type[Template], value: Any, known: Registry) -> Template | None:
        made.append(1)
        found: Template | None = of(cls, value, known)
        return found

    monkeypatch.setattr(Template, "of", classmethod(counting))
    with Repository.open(tmp_path, registry=registry(), kept_bytes=1_000_000) as repo:
        repo.commit("r", {"messages": [message(number) for number in range(2_000)]})
        repo.restore("r")
        whole = decoded()
        for _ in range(3):
            repo.restore("r")
        made.clear()
        decoded()
        repo.restore("r")
        assert 0.4 * whole < decoded() < 0.95 * whole
        assert not made


def test_of_a_list_that_grows_only_what_is_new_is_decoded(
    tmp_path: Path, decoded: Callable[[], int]
) -> None:
    saved = state()
    with Repository.open(tmp_path, registry=registry()) as repo:
        repo.commit("r", saved)
        repo.restore("r")
        whole = decoded()
        taken = []
        for number in range(300, 320):
            saved["messages"].append(message(number))
            repo.commit("r", saved)
            restored = repo.restore("r")
            assert_same(restored, saved)
            spoil(restored)
            taken.append(decoded())
        # What ends a run of the list is by content, so how much is new varies.
        assert sorted(taken)[len(taken) // 2] < whole / 8, taken
        for sequence in (1, 5, 21):
            assert_same(repo.restore(f"r@{sequence}")["messages"][:300], saved["messages"][:300])


def change(current: dict[str, Any], dice: random.Random) -> None:
    """Change a state in one of the ways that agents do."""
    messages, at = current["messages"], dice.randrange(len(current["messages"]))
    match dice.randrange(5):
        case 0:
            messages.append(message(dice.randrange(1_000)))
        case 1:
            messages.pop(at)
        case 2:
            messages.insert(at, message(dice.randrange(1_000)))
        case 3:
            current["table"][f"key-{dice.randrange(600):04}"] = [at]
        case _:
            current["files"]["new"] = f"{at} " * dice.randrange(5_000)


def test_in_any_order_of_commits_and_restores(tmp_path: Path) -> None:
    seed = 20_261_126
    print(f"seed {seed}")
    dice = random.Random(seed)
    states: list[dict[str, Any]] = []
    current = state(60)
    with Repository.open(tmp_path, registry=registry(), kept_bytes=400_000) as repo:
        for _ in range(60):
            if not states or dice.random() < 0.3:
                change(current, dice)
                repo.commit("r", current)
                states.append(copy.deepcopy(current))
            sequence = dice.randrange(len(states)) + 1
            restored = repo.restore(f"r@{sequence}")
            assert_same(restored, states[sequence - 1])
            spoil(restored)
            if dice.random() < 0.03:
                repo.compact()


def test_a_class_that_is_registered_later_is_used(tmp_path: Path) -> None:
    known = Registry()
    saved = {"steps": [Step(f"s{number}", notes=["text " * 200]) for number in range(100)]}
    with Repository.open(tmp_path, registry=registry()) as repo:
        repo.commit("r", saved)
    with Repository.open(tmp_path, registry=known) as repo:
        for _ in range(3):
            assert repo.restore("r")["steps"][0].name == "Step"  # the name it is stored under
        known.register(Step)
        for _ in range(3):
            assert_same(repo.restore("r"), saved)


@pytest.mark.parametrize("step", ["of", "add"])
def test_a_class_that_is_registered_during_a_restore_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """As by another thread, which also restores, before the first one keeps what it decoded."""
    with Repository.open(tmp_path, registry=registry()) as repo:
        repo.commit("r", state())
    known = Registry()
    with Repository.open(tmp_path, registry=known) as repo:
        for _ in range(3 if step == "of" else 1):
            repo.restore("r")
        kept, plain = repo._values, KeptByNumber.keep

        def interfering(values: KeptValues, generation: int, items: dict[int, Any]) -> None:
            if values is kept:
                monkeypatch.setattr(KeptByNumber, "keep", plain)
                known.register(Document)
                known.register(Step)
                assert_same(repo.restore("r"), state())
            plain(values, generation, items)

        if step == "of":
            kept._old, kept._young = kept._young, {}
        monkeypatch.setattr(KeptByNumber, "keep", interfering)
        repo.restore("r")
        assert known.names() == ["Document", "Step"]
        for _ in range(3):
            assert_same(repo.restore("r"), state())


def test_values_are_those_of_the_registry_that_is_asked(tmp_path: Path) -> None:
    saved = {"steps": [Step(f"s{number}", notes=["text " * 200]) for number in range(100)]}
    with Repository.open(tmp_path, registry=registry()) as repo:
        repo.commit("r", saved)
        other = repo.with_registry(Registry())
        for _ in range(3):
            assert_same(repo.restore("r"), saved)
            assert not isinstance(other.restore("r")["steps"][0], Step)


def test_threads_share_what_is_kept(tmp_path: Path) -> None:
    saved = state()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(6):
                restored = repo.restore("r")
                assert_same(restored, saved)
                spoil(restored)
        except BaseException as error:
            failed.append(error)

    with Repository.open(tmp_path, registry=registry(), kept_bytes=700_000) as repo:
        repo.commit("r", saved)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failed


def test_what_is_in_memory_is_not_looked_up_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    load = RecordReader._load

    def counting(self: RecordReader, number: int) -> Any:
        parsed.append(number)
        return load(self, number)

    monkeypatch.setattr(RecordReader, "_load", counting)
    saved = {"messages": [{"role": "user", "content": f"{n} " * 300} for n in range(5)]}
    with Repository.open(tmp_path) as repo:
        repo.commit("r", saved)
        parsed.clear()
        assert repo.restore("r") == saved
        assert not parsed
    with Repository.open(tmp_path) as repo:
        assert repo.restore("r") == saved
        assert parsed
        parsed.clear()
        assert repo.restore("r") == saved
        assert not parsed
