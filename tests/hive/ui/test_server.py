"""``hive ui`` as a process: where it listens, what it prints, how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from hive import AccessError, ConflictError
from hive.ui.connections import MOST_CONNECTIONS
from hive.ui.guard import Keys
from hive.ui.server import listen
from manifests import Repository
from tests.hive.ui.sites import commit_survey, link_in, running


@pytest.fixture
def store(home: Path) -> Path:
    with Repository.open(home) as repository:
        commit_survey(repository, steps=3)
    return home


def test_the_page_is_served_and_ctrl_c_stops_it(store: Path) -> None:
    with running(store, "--no-browser") as (process, line):
        # Read before communicate(), which passes over what readline() has taken into its buffer.
        assert process.stdout.readline() == "Ctrl-C stops it.\n"
        with httpx2.Client(base_url=link_in(line).split("/open")[0]) as client:
            assert client.get("/").status_code == 403
            assert client.get(link_in(line)).status_code == 200
            answer = client.get("/")
            assert "survey" in answer.text
            assert "server" not in answer.headers
            assert f"hive resume --home {store} survey" in client.get("/run?name=survey").text
            # A connection that is kept open does not keep it from stopping.
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert (output, errors) == ("", "")


def test_a_writer_works_on_while_pages_are_shown(store: Path) -> None:
    with running(store, "--no-browser") as (process, line):
        base = link_in(line).split("/open")[0]
        with httpx2.Client(base_url=base) as client, Repository.open(store) as repository:
            client.get(link_in(line))
            for number in range(20):
                repository.commit("live", {"n": number}, node=f"node {number}")
                page = client.get("/step", params={"run": "live", "at": number + 1})
                assert f"node {number}" in page.text
            repository.compact()
            assert "node 19" in client.get("/run?name=live").text
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_connections_that_say_nothing_keep_nobody_out(store: Path) -> None:
    """Any user of the machine can open them, and leave them open."""
    with running(store, "--no-browser") as (process, line), ExitStack() as stack:
        assert process.stdout.readline() == "Ctrl-C stops it.\n"
        port = int(link_in(line).split(":")[2].split("/")[0])
        silent = []
        for _ in range(MOST_CONNECTIONS + 50):
            opened = socket.create_connection(("127.0.0.1", port), timeout=60)
            silent.append(stack.enter_context(opened))
            opened.sendall(b"GET / HTTP/1.1\r\n")  # and no end of it
        with httpx2.Client() as client:
            assert client.get(link_in(line)).status_code == 200
        assert silent[0].recv(1) == b"", "the one that waited longest was closed"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert (output, errors) == ("", "")


def test_it_listens_at_loopback_alone(store: Path) -> None:
    with running(store, "--no-browser") as (_process, line):
        port = int(link_in(line).split(":")[2].split("/")[0])
        with socket.socket() as other:
            # On Linux all of 127.0.0.0/8 is this machine; only one address of it answers.
            assert other.connect_ex(("127.0.0.2", port)) != 0


def test_the_browser_gets_a_link_that_is_good_once(store: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {told}\n')
    browser.chmod(0o755)
    with running(store, BROWSER=f"{browser} %s") as (_process, line):
        ticket = told.read_text()
        assert ticket != link_in(line)
        assert ticket.split("token=")[0] == link_in(line).split("token=")[0]
        assert httpx2.get(ticket).status_code == 200
        assert httpx2.get(ticket).status_code == 403
        assert httpx2.get(link_in(line)).status_code == 200


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hive.cli", "ui", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_errors_have_the_documented_exit_codes(store: Path, tmp_path: Path) -> None:
    missing = run("--home", str(tmp_path / "absent"), "--no-browser")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert run("--port", "65536").returncode == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("--home", str(store), "--no-browser", "--port", port)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"another program listens at port {port}" in done.stderr


def test_json_names_the_address_for_programs(store: Path) -> None:
    with running(store, "--no-browser", "--json") as (process, line):
        assert line == "{\n"
        told = json.loads(line + "".join(process.stdout.readline() for _ in range(3)))
        assert told.keys() == {"url", "port"}
        assert httpx2.get(told["url"]).status_code == 200
        assert f":{told['port']}/" in told["url"]


def test_a_missing_extra_is_named(store: Path) -> None:
    script = (
        "import sys; sys.modules['jinja2'] = None; sys.argv[0] = 'hive';"
        "from hive.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "ui", "--home", str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'hive-checkpoints[ui]'" in done.stderr


def test_listening_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen(0) as first, pytest.raises(ConflictError, match="another program"):
        listen(first.getsockname()[1])

    def refuse(*_args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(AccessError, match="1023"):
        listen(80)


def test_tickets_are_used_up_by_one_of_many_threads() -> None:
    keys = Keys()
    ticket = keys.ticket()
    admitted: list[bool] = []
    threads = [
        threading.Thread(target=lambda: admitted.append(keys.admits(ticket))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(admitted) == [False] * 7 + [True]
