"""The fork server that is forked: in nodes of their own, with real forks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import wait_until

#: A node's script. `look` runs in a worker and says what it finds there.
NODE = """
import contextlib, json, os, signal, sys, threading, types
from multiprocessing import forkserver, get_context, resource_tracker, util
from dask_gridengine.worker import fork_server as template


def look(pipe):
    with contextlib.closing(pipe):
        pipe.send({
            "inherited": "inherited" in sys.modules,
            "parent": os.getppid(),
            "threads": template.threads(),
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "handlers": [repr(signal.getsignal(number)) for number in SIGNALS],
            "lent": util.spawnv_passfds.__module__,
        })


def draw(pipe):
    import numpy.random, random
    with contextlib.closing(pipe):
        pipe.send([numpy.random.rand(), random.random()])


def grandparent(pipe):
    with contextlib.closing(pipe):
        pipe.send(worker())


def worker(target=look, method="forkserver"):
    context = get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(theirs,))
    process.start()
    theirs.close()
    with contextlib.closing(ours):
        said = ours.recv()
    process.join()
    return said


def say(**found):
    print(json.dumps(found), flush=True)


def servers():
    tracker = resource_tracker._resource_tracker._pid
    return {"template": forkserver._forkserver._forkserver_pid, "tracker": tracker}


SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
if __name__ == "__main__":
    # No file holds it: whoever has it has inherited it.
    sys.modules["inherited"] = types.ModuleType("inherited")
"""

Node = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Start a node that runs this code; what is left of it is killed afterwards."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, **environment: str) -> subprocess.Popen[str]:
        script = tmp_path / "node.py"
        script.write_text(NODE + textwrap.indent(textwrap.dedent(code), "    "))
        started.append(
            subprocess.Popen(
                [sys.executable, script],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a node that runs to its end has said."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    said: dict[str, Any] = json.loads(out)
    return {**said, "stderr": err}


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie waits only for whoever adopted it."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_workers_are_forked_and_find_the_imports_done(start: Node) -> None:
    """Every one, first or later, is a child of the template and has its modules."""
    said = told(
        start("""
            started, before = template.start(), util.spawnv_passfds.__module__
            say(started=started, workers=[worker(), worker()], lent=before, **servers())
        """)
    )
    assert said["started"] is True
    assert said["lent"] == "multiprocessing.util"
    for worker in said["workers"]:
        assert worker["inherited"]
        assert worker["parent"] == said["template"]
        assert worker["threads"] == 1
    assert said["stderr"] == ""


def test_with_another_thread_nothing_is_forked(start: Node) -> None:
    """A thread may hold any lock: Dask is left to spawn, and finds all as it was."""
    said = told(
        start("""
            stop = threading.Event()
            other = threading.Thread(target=stop.wait)
            other.start()
            started, found = template.start(), servers()
            stop.set()
            other.join()
            say(started=started, lent=util.spawnv_passfds.__module__, **found,
                blocked=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
                spawned=worker(method="spawn"))
        """)
    )
    assert said["started"] is False
    assert said["template"] is None
    assert said["tracker"] is None
    assert said["lent"] == "multiprocessing.util"
    assert said["blocked"] == []
    assert not said["spawned"]["inherited"]


def test_the_courtesy_signals_end_no_worker(start: Node) -> None:
    """USR1 and USR2 go to the whole group: workers ignore them; TERM still ends one."""
    said = told(
        start("""
            for number in SIGNALS:
                signal.signal(number, lambda *_: os._exit(3))  # as a node does
            template.start()
            os.killpg(0, 0)
            found = worker()
            for number in SIGNALS[:2]:
                os.kill(servers()["template"], number)
                os.kill(servers()["tracker"], number)
            say(**found, still=worker()["parent"], **servers(),
                own=[signal.getsignal(number).__name__ for number in SIGNALS])
        """)
    )
    ignored, default = repr(signal.SIG_IGN), repr(signal.SIG_DFL)
    assert said["handlers"] == [ignored, ignored, default]
    assert said["blocked"] == []
    assert said["still"] == said["template"]
    assert said["own"] == ["<lambda>"] * 3


def test_a_path_too_long_for_a_socket_is_no_disaster(
    start: Node, tmp_path: Path
) -> None:
    """A TMPDIR of more than a Unix socket's name: it is said, and Dask spawns."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    said = told(
        start(
            """
            started = template.start()
            say(started=started, lent=util.spawnv_passfds.__module__,
                template=servers()["template"], spawned=worker(method="spawn"))
            """,
            TMPDIR=str(deep),
        )
    )
    assert said["started"] is False
    assert said["template"] is None
    assert said["lent"] == "multiprocessing.util"
    assert "inherited" in said["spawned"]
    assert "no fork server, spawning: AF_UNIX path too long" in said["stderr"]


@pytest.mark.parametrize("end", ["by itself", "SIGKILL"])
def test_the_servers_end_with_their_node(start: Node, end: str) -> None:
    """However it ends: nothing holds the grid's slot, or its memory, any longer."""
    node = start("""
        template.start()
        say(worker=worker(), **servers())
        sys.stdin.read()
    """)
    assert node.stdout is not None
    said = json.loads(node.stdout.readline())
    pids = [said["template"], said["tracker"]]
    assert not any(gone(pid) for pid in pids)
    if end == "SIGKILL":
        node.send_signal(signal.SIGKILL)
    node.communicate(timeout=10)
    wait_until(lambda: all(gone(pid) for pid in pids), "both servers gone", 10)


def test_the_template_keeps_only_the_descriptors_it_needs(
    start: Node, tmp_path: Path
) -> None:
    """The node's files and sockets stay the node's: a closed one is really closed."""
    (tmp_path / "held").touch()
    said = told(
        start("""
            import socket
            held = open(sys.argv[0].replace("node.py", "held"))
            pair = socket.socketpair()

            def descriptors(pid):
                folder = f"/proc/{pid}/fd"
                links = [f"{folder}/{name}" for name in os.listdir(folder)]
                return [os.readlink(link) for link in links if os.path.lexists(link)]

            template.start()
            worker()
            say(**{name: descriptors(pid) for name, pid in servers().items()},
                node=[os.readlink(f"/proc/self/fd/{pair[0].fileno()}"), held.name])
        """)
    )
    assert str(tmp_path / "held") == said["node"][1]
    for server in ("template", "tracker"):
        assert not set(said["node"]) & set(said[server]), said
    assert sum(name.startswith("socket:") for name in said["template"]) == 1


def test_a_worker_may_start_processes_of_its_own(start: Node) -> None:
    """In it multiprocessing is as ever: nothing lent, and no lock held by nobody."""
    said = told(
        start("""
            template.start()
            child, grandchild = worker(), worker(grandparent)
            say(child=child, grandchild=grandchild)
        """)
    )
    assert said["child"]["lent"] == "multiprocessing.util"
    assert not said["grandchild"]["inherited"]


def test_every_worker_draws_its_own_random_numbers(start: Node) -> None:
    """Restarted workers do not repeat each other, where numpy was there at the fork."""
    said = told(
        start(
            """
            import numpy.random, random
            started = template.start()
            say(started=started, drawn=[worker(draw) for _ in range(3)])
            """,
            OMP_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
        )
    )
    assert said["started"] is True
    assert len({numpys for numpys, _ in said["drawn"]}) == 3
    assert len({pythons for _, pythons in said["drawn"]}) == 3


def test_a_killed_template_is_replaced(start: Node) -> None:
    """Python's own fork server steps in: slower, but workers start again."""
    said = told(
        start("""
            template.start()
            first = worker()
            os.kill(servers()["template"], signal.SIGKILL)
            os.waitid(os.P_PID, servers()["template"], os.WEXITED | os.WNOWAIT)
            say(first=first, second=worker())
        """)
    )
    assert said["first"]["inherited"]
    assert not said["second"]["inherited"]
    assert said["first"]["parent"] != said["second"]["parent"]
