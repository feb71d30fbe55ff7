"""Settings and fixtures shared by all tests.

Four environment variables steer a test run:

- ``HIVE_TEST_SEED``: repeat a run's random choices; every run prints the seed it used.
- ``HIVE_TORTURE=1``: long loops and property tests run in full (``make torture``).
- ``HIVE_DATA``: the folder of the recorded runs; by default ``../shared/data`` beside the project.
- ``CI``: recorded runs that are missing fail a test, where they skip it elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parent.parent
TORTURE = os.environ.get("HIVE_TORTURE", "") not in {"", "0"}

# A machine shared by several processes makes single examples slow without anything being wrong, so
# neither a deadline nor the slowness of generation is judged; pytest's timeout catches a hang.
settings.register_profile(
    "ci", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("torture", parent=settings.get_profile("ci"), max_examples=5_000)
settings.load_profile("torture" if TORTURE else "ci")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the run's seed before Hypothesis looks for one; xdist's workers inherit it."""
    # A shell without job control has what it starts in the background ignore Ctrl-C, and so the
    # processes that tests start, some of which are to be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    seed = int(os.environ.setdefault("HIVE_TEST_SEED", str(random.SystemRandom().getrandbits(32))))
    if config.getoption("hypothesis_seed", default=None) is None:
        config.option.hypothesis_seed = str(seed)


def pytest_report_header() -> str:
    """Print what repeats this run's random choices."""
    return f"random tests: HIVE_TEST_SEED={os.environ['HIVE_TEST_SEED']}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the seed beside the failure of a test that used it."""
    report = yield
    if report.failed and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(
            ("random choices", f"repeat them with HIVE_TEST_SEED={os.environ['HIVE_TEST_SEED']}")
        )
    return report


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hive home of this test alone, named by HIVE_HOME and not created yet.

    Every test gets it, also those that do not ask: none can touch the real ``~/.hive``, not even
    one that unsets HIVE_HOME.
    """
    path = tmp_path / "hive-home"
    monkeypatch.setenv("HOME", str(tmp_path / "user-home"))
    monkeypatch.setenv("HIVE_HOME", str(path))
    return path


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user reaches and may write to.

    Nothing below ``tmp_path`` is that: each session of pytest closes the folder that all have in
    common when it begins, also while another one runs.
    """
    place = Path(tempfile.mkdtemp(prefix="hive-test-"))
    place.chmod(0o777)
    try:
        if not all(folder.stat().st_mode & 0o001 for folder in place.parents):
            pytest.skip(f"not every user reaches {place}")
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed for ``random.Random``: of this test alone, and the same for one HIVE_TEST_SEED."""
    text = f"{os.environ['HIVE_TEST_SEED']}:{request.node.nodeid}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


@pytest.fixture
def rounds() -> Callable[[int, int], int]:
    """``rounds(brief, full)``: how often a loop marked ``torture`` runs; full with HIVE_TORTURE."""
    return lambda brief, full: full if TORTURE else brief


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that holds ``airline_runs.jsonl.gz``, the recorded runs."""
    folder = Path(os.environ.get("HIVE_DATA") or PROJECT.parent / "shared" / "data")
    if not (folder / "airline_runs.jsonl.gz").is_file():
        reason = f"no airline_runs.jsonl.gz in {folder}: name its folder with HIVE_DATA"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
