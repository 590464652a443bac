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

#: A node's script. `look` runs in a worker and reports what it finds there.
NODE = """
import contextlib, json, os, signal, subprocess, sys, threading, types
from multiprocessing import forkserver, get_context, resource_tracker, util
from dask_gridengine.worker import fork_server


def look(pipe):
    with contextlib.closing(pipe):
        pipe.send({
            "inherited": "inherited" in sys.modules,
            "parent": os.getppid(),
            "threads": fork_server.threads(),
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "handlers": [repr(signal.getsignal(number)) for number in SIGNALS],
            "replaced": util.spawnv_passfds.__module__,
        })


def draw(pipe):
    import numpy.random, random
    with contextlib.closing(pipe):
        pipe.send([numpy.random.rand(), random.random()])


def grandparent(pipe):
    with contextlib.closing(pipe):
        pipe.send(worker())


def start_others(pipe):
    code = "import signal; print(repr(signal.getsignal(signal.SIGTERM)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    forked = worker(method="fork")["handlers"][2]
    with contextlib.closing(pipe):
        pipe.send([printed.stdout.decode().strip(), forked])


def worker(target=look, method="forkserver"):
    context = get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(theirs,))
    process.start()
    theirs.close()
    with contextlib.closing(ours):
        answer = ours.recv()
    process.join()
    return answer


def report(**found):
    print(json.dumps(found), flush=True)


def servers():
    tracker = resource_tracker._resource_tracker._pid
    return {"fork_server": forkserver._forkserver._forkserver_pid, "tracker": tracker}


SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
if __name__ == "__main__":
    # There is no such file: a process that has it has inherited it.
    sys.modules["inherited"] = types.ModuleType("inherited")
"""

Node = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Any:
    """Start a node that runs this code; it is killed afterwards."""
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


def output(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a node reports that runs to its end."""
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    found: dict[str, Any] = json.loads(out)
    return {**found, "stderr": err}


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie waits only for its parent."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_workers_are_forked_and_find_the_imports_done(start: Node) -> None:
    """Each, first or later, is a child of the fork server and has its modules."""
    found = output(
        start("""
            started, before = fork_server.start(), util.spawnv_passfds.__module__
            report(started=started, workers=[worker(), worker()], replaced=before,
                **servers())
        """)
    )
    assert found["started"] is True
    assert found["replaced"] == "multiprocessing.util"
    for worker in found["workers"]:
        assert worker["inherited"]
        assert worker["parent"] == found["fork_server"]
        assert worker["threads"] == 1
    assert found["stderr"] == ""


def test_with_another_thread_nothing_is_forked(start: Node) -> None:
    """A thread may hold any lock: Dask spawns, and nothing has been changed."""
    found = output(
        start("""
            stop = threading.Event()
            other = threading.Thread(target=stop.wait)
            other.start()
            started, found = fork_server.start(), servers()
            stop.set()
            other.join()
            report(started=started, replaced=util.spawnv_passfds.__module__, **found,
                blocked=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
                spawned=worker(method="spawn"))
        """)
    )
    assert found["started"] is False
    assert found["fork_server"] is None
    assert found["tracker"] is None
    assert found["replaced"] == "multiprocessing.util"
    assert found["blocked"] == []
    assert not found["spawned"]["inherited"]


def test_the_grids_signals_end_no_worker(start: Node) -> None:
    """They go to all processes of a job: workers and their servers ignore them."""
    found = output(
        start("""
            for number in SIGNALS:
                signal.signal(number, lambda *_: os._exit(3))  # as a node does
            fork_server.start()
            os.killpg(0, 0)
            found = worker()
            for number in SIGNALS:
                os.kill(servers()["fork_server"], number)
                os.kill(servers()["tracker"], number)
            report(**found, still=worker()["parent"], **servers(),
                own=[signal.getsignal(number).__name__ for number in SIGNALS])
        """)
    )
    default = repr(signal.SIG_DFL)
    assert default not in found["handlers"]
    assert found["blocked"] == []
    assert found["still"] == found["fork_server"]
    assert found["own"] == ["<lambda>"] * 3


def test_a_task_can_terminate_what_it_starts(start: Node) -> None:
    """SIGTERM ends a process or a program of a worker, which itself ignores it."""
    found = output(
        start("""
            fork_server.start()
            report(handlers=worker(start_others))
        """)
    )
    assert found["handlers"] == [repr(signal.SIG_DFL)] * 2


@pytest.mark.parametrize("end", ["by itself", "SIGKILL"])
def test_the_servers_end_with_their_node(start: Node, end: str) -> None:
    """Nothing keeps the grid's slot or memory any longer."""
    node = start("""
        fork_server.start()
        report(worker=worker(), **servers())
        sys.stdin.read()
    """)
    assert node.stdout is not None
    found = json.loads(node.stdout.readline())
    pids = [found["fork_server"], found["tracker"]]
    assert not any(gone(pid) for pid in pids)
    if end == "SIGKILL":
        node.send_signal(signal.SIGKILL)
    node.communicate(timeout=10)
    wait_until(lambda: all(gone(pid) for pid in pids), "both servers gone", 10)


def test_the_fork_server_keeps_only_the_descriptors_it_needs(
    start: Node, tmp_path: Path
) -> None:
    """A file or socket that the node closes is really closed."""
    (tmp_path / "held").touch()
    found = output(
        start("""
            import socket
            held = open(sys.argv[0].replace("node.py", "held"))
            pair = socket.socketpair()

            def descriptors(pid):
                folder = f"/proc/{pid}/fd"
                links = [f"{folder}/{name}" for name in os.listdir(folder)]
                return [os.readlink(link) for link in links if os.path.lexists(link)]

            fork_server.start()
            worker()
            report(**{name: descriptors(pid) for name, pid in servers().items()},
                node=[os.readlink(f"/proc/self/fd/{pair[0].fileno()}"), held.name])
        """)
    )
    assert str(tmp_path / "held") == found["node"][1]
    for server in ("fork_server", "tracker"):
        assert not set(found["node"]) & set(found[server]), found
    assert sum(name.startswith("socket:") for name in found["fork_server"]) == 1


def test_a_worker_may_start_processes_of_its_own(start: Node) -> None:
    """Its multiprocessing is unchanged, and no lock is held."""
    found = output(
        start("""
            fork_server.start()
            child, grandchild = worker(), worker(grandparent)
            report(child=child, grandchild=grandchild)
        """)
    )
    assert found["child"]["replaced"] == "multiprocessing.util"
    assert not found["grandchild"]["inherited"]


def test_every_worker_draws_its_own_random_numbers(start: Node) -> None:
    """Also if numpy was imported before the fork."""
    found = output(
        start(
            """
            import numpy.random, random
            started = fork_server.start()
            report(started=started, drawn=[worker(draw) for _ in range(3)])
            """,
            OMP_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
        )
    )
    assert found["started"] is True
    assert len({numpys for numpys, _ in found["drawn"]}) == 3
    assert len({pythons for _, pythons in found["drawn"]}) == 3
