from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from cas.errors import (
    AccessError,
    ConflictError,
    CorruptionError,
    InvalidInputError,
    UnsupportedFormatError,
)
from hive.cli.launches import Launch, find_launch, is_executing, record_launch, while_executing

HOSTILE = "../../etc/\x1b[2J run 日本"


def record_path(home: Path, run: str) -> Path:
    return home / "launches" / f"{blake3(run.encode()).hexdigest()}.json"


def test_a_record_is_found_again(home: Path) -> None:
    assert find_launch(home, "run") is None
    assert not home.exists(), "looking made a folder"
    launch = Launch("run", "pkg.mod:graph", Path("/somewhere"))
    record_launch(home, launch)
    assert find_launch(home, "run") == launch
    assert find_launch(home, "run2") is None


def test_a_newer_record_replaces_an_older_one(home: Path) -> None:
    for target in ("a:g", "b:g"):
        record_launch(home, Launch("run", target, Path("/")))
    found = find_launch(home, "run")
    assert found is not None
    assert found.target == "b:g"
    assert len(list((home / "launches").iterdir())) == 1, "a temporary file was left"


def test_records_are_private(home: Path) -> None:
    record_launch(home, Launch("run", "a:g", Path("/")))
    assert stat.S_IMODE((home / "launches").stat().st_mode) == 0o700
    assert stat.S_IMODE(record_path(home, "run").stat().st_mode) == 0o600


def test_a_run_name_is_never_a_path(home: Path) -> None:
    record_launch(home, Launch(HOSTILE, "a:g", Path("/")))
    assert [path.name for path in (home / "launches").iterdir()] == [
        f"{blake3(HOSTILE.encode()).hexdigest()}.json"
    ]
    found = find_launch(home, HOSTILE)
    assert found is not None
    assert found.run == HOSTILE


def test_a_name_that_is_not_text_is_refused(home: Path) -> None:
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        find_launch(home, "\ud800")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666], ids=oct)
def test_a_record_others_can_write_is_refused(home: Path, mode: int) -> None:
    record_launch(home, Launch("run", "a:g", Path("/")))
    record_path(home, "run").chmod(mode)
    with pytest.raises(AccessError, match="--target"):
        find_launch(home, "run")


def test_a_link_in_place_of_a_record_is_refused(home: Path, tmp_path: Path) -> None:
    record_launch(home, Launch("run", "a:g", Path("/")))
    path = record_path(home, "run")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AccessError):
        find_launch(home, "run")


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", '{"format": 1, "run": "run"}', "\udcff"],
    ids=["empty", "no-json", "list", "no-fields", "some-fields", "no-text"],
)
def test_a_damaged_record_is_an_error(home: Path, text: str) -> None:
    record_launch(home, Launch("run", "a:g", Path("/")))
    record_path(home, "run").write_text(text, errors="surrogateescape")
    with pytest.raises(CorruptionError, match="--target"):
        find_launch(home, "run")


def test_the_record_of_another_run_is_an_error(home: Path) -> None:
    record_launch(home, Launch("other", "a:g", Path("/")))
    record_path(home, "other").rename(record_path(home, "run"))
    with pytest.raises(CorruptionError, match="another run"):
        find_launch(home, "run")


def test_a_newer_record_format_is_an_error(home: Path) -> None:
    record_launch(home, Launch("run", "a:g", Path("/")))
    path = record_path(home, "run")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(UnsupportedFormatError, match="upgrade"):
        find_launch(home, "run")


def test_a_home_that_is_a_file_is_an_access_error(home: Path) -> None:
    home.write_text("")
    with pytest.raises(AccessError):
        record_launch(home, Launch("run", "a:g", Path("/")))


def test_only_one_process_executes_a_run(home: Path) -> None:
    assert is_executing(home, "run") is None
    with while_executing(home, "run"):
        assert is_executing(home, "run") is True
        assert is_executing(home, "other") is None
        with pytest.raises(ConflictError, match="another process"), while_executing(home, "run"):
            pytest.fail("two processes execute one run")
    assert is_executing(home, "run") is False


def test_a_killed_process_executes_nothing(home: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from hive.cli.launches import while_executing\n"
        "with while_executing(Path(sys.argv[1]), 'run'):\n"
        "    print('ready', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(home)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert is_executing(home, "run") is True
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert is_executing(home, "run") is False
    with while_executing(home, "run"):
        assert is_executing(home, "run") is True
