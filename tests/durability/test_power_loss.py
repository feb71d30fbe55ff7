"""Power failures between any two writes: every image of the disk that is possible then is sound.

A writer runs under strace, which shows each write and each sync of the data file and, among them,
each acknowledgement. What was written before a completed sync is on the disk; of what came later,
any part may be.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from cas.errors import HiveError
from manifests import Repository
from tests.cas.children import PROJECT, in_child
from tests.damage import data_file
from tests.durability.survival import state_of

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

COMMITS = 24
SECTOR = 512
WRITER = f"""
import os, sys
from pathlib import Path
from manifests import Repository
from tests.durability.survival import state_of

with Repository.open(Path(sys.argv[1])) as repo:
    for sequence in range(2, {COMMITS} + 2):
        repo.commit("run", state_of("run", sequence))
        if sequence % 6 == 0:
            repo.forget([("run", sequence - 1)])
            repo.gc()
        os.write(1, b"acknowledged %d\\n" % sequence)
"""
FORGOTTEN = {sequence - 1 for sequence in range(6, COMMITS + 2, 6)}


@dataclass(frozen=True)
class Write:
    """A write to the data file; durable once it returned, if the file was opened so."""

    offset: int
    data: bytes
    durable: bool


@dataclass(frozen=True)
class Sync:
    """A completed sync of the data file."""


@dataclass(frozen=True)
class Acknowledgement:
    """A commit that the writer was told is safe."""

    sequence: int


Event = Write | Sync | Acknowledgement

_CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def parse(trace: str, path: Path) -> Iterator[Event]:
    """Yield what happened to the data file, from the lines of strace."""
    durable: dict[int, bool] = {}
    position: dict[int, int] = {}
    for line in trace.splitlines():
        match = _CALL.match(line)
        if match is None or match[3].startswith("-"):
            continue
        call, arguments, result = match[1], match[2], int(match[3])
        texts = [_bytes(text) for text in _TEXT.findall(arguments)]
        if call == "openat":
            if texts[0] == os.fsencode(path):
                durable[result], position[result] = "O_DSYNC" in arguments, 0
            continue
        descriptor = int(arguments.split(",")[0])
        if call == "close":
            durable.pop(descriptor, None)
        elif call == "write" and descriptor == 1:
            yield Acknowledgement(int(texts[0].split()[1]))
        elif descriptor not in durable:
            continue
        elif call == "lseek":
            position[descriptor] = result
        elif call in {"fdatasync", "fsync"}:
            yield Sync()
        elif call == "pwrite64":
            yield Write(int(arguments.rsplit(",", 1)[1]), texts[0][:result], durable[descriptor])
        elif call in {"write", "writev"}:
            yield Write(position[descriptor], b"".join(texts)[:result], durable[descriptor])
            position[descriptor] += result


def apply(image: bytearray, write: Write) -> None:
    if len(image) < write.offset:
        image.extend(bytes(write.offset - len(image)))
    image[write.offset : write.offset + len(write.data)] = write.data


def sectors(write: Write) -> Iterator[Write]:
    """Cut a write into what a disk writes at once."""
    at = 0
    while at < len(write.data):
        size = SECTOR - (write.offset + at) % SECTOR
        yield Write(write.offset + at, write.data[at : at + size], write.durable)
        at += size


def image_after(
    base: bytes, events: Sequence[Event], rng: random.Random, *, syncs_work: bool
) -> tuple[bytes, int]:
    """Return a possible content of the disk after these events, and the last acknowledged commit.

    The last event may not have come to its end.
    """
    image, pending, acknowledged = bytearray(base), list[Write](), 1
    for number, event in enumerate(events):
        is_last = number == len(events) - 1
        if isinstance(event, Acknowledgement):
            acknowledged = event.sequence
        elif isinstance(event, Write):
            pending.append(event)
            if event.durable and syncs_work and not is_last:
                apply(image, pending.pop())
        elif syncs_work and not is_last:
            for write in pending:
                apply(image, write)
            pending.clear()
    share = rng.choice([0.0, 0.1, 0.5, 0.9, 1.0])
    for write in pending:
        for piece in sectors(write):
            if rng.random() < share:
                apply(image, piece)
    return bytes(image), acknowledged


def survived(home: Path, acknowledged: int) -> str:
    """Say what is wrong with a store of which so much was acknowledged, or `sound`."""
    try:
        with Repository.open(home) as repo:
            head = repo.resolve("run").sequence
            if not acknowledged <= head <= acknowledged + 1:
                return f"the head is {head}, acknowledged was {acknowledged}"
            listed = {checkpoint.sequence for checkpoint in repo.log("run")}
            missing = set(range(1, acknowledged)) - listed - FORGOTTEN
            if missing:
                return f"{missing} are not listed"
            for sequence in listed:
                if repo.restore(("run", sequence)) != state_of("run", sequence):
                    return f"checkpoint {sequence} is another one"
            if not repo.check().ok:
                return "the check finds damage"
            if repo.commit("run", state_of("run", head + 1)).sequence != head + 1:
                return "the next commit went wrong"
    except HiveError as error:
        return f"{type(error).__name__}: {error}"
    return "sound"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[Event]]:
    """A home, what its data file held before the writer ran, and what the writer did to it."""
    folder = tmp_path_factory.mktemp("power")
    home, trace = folder / "home", folder / "trace"
    with Repository.open(home) as repo:
        repo.commit("run", state_of("run", 1))
    path = data_file(home / "objects")
    base = path.read_bytes()
    calls = "openat,close,lseek,write,writev,pwrite64,fdatasync,fsync"
    options = ["-f", "-xx", "-s", str(1 << 24), "-e", f"trace={calls}", "-o", str(trace)]
    writer = [sys.executable, "-c", WRITER, str(home)]
    done = subprocess.run(
        ["strace", *options, *writer], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode and "ptrace" in done.stderr.lower():
        pytest.skip("this machine does not allow tracing")
    assert done.returncode == 0, done.stderr
    events = list(parse(trace.read_text(encoding="ascii"), path))
    image = bytearray(base)
    for event in events:
        if isinstance(event, Write):
            apply(image, event)
    assert bytes(image) == path.read_bytes(), "the recording is not complete"
    assert sum(isinstance(event, Acknowledgement) for event in events) == COMMITS
    assert sum(isinstance(event, Write) and event.durable for event in events) >= COMMITS
    return home, base, events


def fail(
    recorded: tuple[Path, bytes, list[Event]],
    work: Path,
    rng: random.Random,
    images: int,
    *,
    syncs_work: bool,
) -> list[str]:
    """Let the power fail at random moments, and return what was wrong afterwards."""
    home, base, events = recorded
    wrong = []
    for number in range(images):
        moment = rng.randrange(1, len(events) + 1)
        image, acknowledged = image_after(base, events[:moment], rng, syncs_work=syncs_work)
        place = work / str(number)
        shutil.copytree(home, place, ignore=shutil.ignore_patterns("ballast", "lock.mdb"))
        data_file(place / "objects").write_bytes(image)
        # In a child: an image that is not sound may kill.
        verdict = in_child(partial(survived, place, acknowledged))
        if verdict != "+sound":
            wrong.append(f"after event {moment}: {verdict}")
        shutil.rmtree(place)
    return wrong


@pytest.mark.torture
@pytest.mark.timeout(3_600)
def test_a_power_failure_at_any_moment_loses_nothing_that_was_acknowledged(
    recorded: tuple[Path, bytes, list[Event]],
    tmp_path: Path,
    seed: int,
    rounds: Callable[[int, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    images = rounds(60, 3_000)
    wrong = fail(recorded, tmp_path, random.Random(seed), images, syncs_work=True)
    with capsys.disabled():
        print(f"\npower loss: {images} images (seed {seed}), {len(wrong)} wrong")
    assert wrong == []


def test_without_syncs_a_power_failure_is_noticed(
    recorded: tuple[Path, bytes, list[Event]], tmp_path: Path, seed: int
) -> None:
    """Negative control: on a disk that ignores syncs, the checker finds losses."""
    assert fail(recorded, tmp_path, random.Random(seed), 12, syncs_work=False)
