"""The process launcher's child, and what it does when its parent goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_gridengine.launchers.local.process import available_slots
from dask_gridengine.launchers.protocol import encode
from tests.waiting import wait_until

MODULE = "dask_gridengine.launchers.local.process"


@contextmanager
def user(
    shared: Path, ending: str
) -> Iterator[tuple[subprocess.Popen[bytes], psutil.Process]]:
    """A user's Python and its session, with two nodes running and one queued."""
    command = [sys.executable, "-m", "tests.launchers.user", "process", str(shared)]
    with subprocess.Popen(
        [*command, ending], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            told = json.loads(process.stdout.readline())
            session = psutil.Process(told["session"])
            wait_until(lambda: len(nodes(session)) == 4, "two nodes and their sleeps")
            yield process, session
        finally:
            process.kill()


def nodes(session: psutil.Process) -> list[psutil.Process]:
    return session.children(recursive=True)


def wait_until_gone(processes: list[psutil.Process]) -> None:
    wait_until(
        lambda: not any(process.is_running() for process in processes),
        "all gone",
        last_seen=lambda: [str(process) for process in processes],
    )


@pytest.mark.parametrize(
    ("ending", "end"),
    [
        ("sleep", subprocess.Popen.kill),
        ("fork", subprocess.Popen.kill),
        ("exit", lambda process: process.stdin.close()),
    ],
)
def test_nothing_outlives_the_parent(
    shared: Path, ending: str, end: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    """Killed, or killed while a fork of it holds our pipe open, or simply at its end.

    The session kills every node, removes the cluster's directory and goes too.
    """
    shared = shared / "dask-1"
    shared.mkdir()
    with user(shared, ending) as (parent, session):
        left = [session, *nodes(session)]
        forks = psutil.Process(parent.pid).children()
        forks.remove(session)
        end(parent)
        wait_until_gone(left)
        for fork in forks:
            fork.kill()
    assert not shared.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not help")
def test_nodes_die_with_the_session(shared: Path) -> None:
    """Even if it is killed; the parent, which lives, kills what they had started."""
    with user(shared, "sleep") as (_, session):
        left = nodes(session)
        session.kill()
        wait_until_gone(left)
    (shared / "connection.json").unlink()


def test_sigterm_ends_it_as_the_parents_end_would(shared: Path) -> None:
    """Only the directory stays: the parent lives and may have use for it.

    Ctrl-C and a hangup are not for it at all.
    """
    with user(shared, "sleep") as (_, session):
        session.send_signal(signal.SIGINT)
        session.send_signal(signal.SIGHUP)
        left = [session, *nodes(session)]
        assert len(left) == 5
        session.send_signal(signal.SIGTERM)
        wait_until_gone(left)
        assert (shared / "connection.json").exists()


def test_nodes_do_not_inherit_the_sessions_indifference(shared: Path) -> None:
    """An ignored signal would stay ignored in everything a node starts."""
    with user(shared, "sleep") as (_, session):
        for line in (
            Path(f"/proc/{nodes(session)[0].pid}/status").read_text().split("\n")
        ):
            if line.startswith("SigIgn"):
                ignored = int(line.split()[1], 16)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        assert not ignored & 1 << (number - 1), number


def test_a_question_about_nodes_is_no_work() -> None:
    """The kernel tells of every end; there is nobody to ask."""
    assert serve("ask", nodes={"1": [[1, 3]]}) == {"kind": "reply", "id": 1}


def test_an_unknown_request_is_answered() -> None:
    """A parent of another version hears of it, instead of waiting for ever."""
    assert serve("dance")["text"] == "no such request: 'dance'"


def serve(kind: str, **fields: Any) -> Any:
    """A session's reply to one request, between its greeting and its end."""
    ran = subprocess.run(
        [sys.executable, "-m", MODULE, "--parent", str(os.getpid())],
        input=encode(kind, id=1, **fields) + encode("close", id=2, timeout=5),
        stdout=subprocess.PIPE,
        timeout=20,
        check=True,
    )
    ready, reply, closed = map(json.loads, ran.stdout.splitlines())
    assert ready["slots"] == available_slots()
    assert reply["id"] == 1
    assert closed == {"kind": "reply", "id": 2}
    return reply


def test_slots_are_the_cpus_we_may_use() -> None:
    """Not those of the machine: a container or taskset may give us fewer."""
    assert 1 <= available_slots() <= (os.cpu_count() or 1)
