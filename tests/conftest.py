"""Fixtures all tests share: nothing may be left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tornado.ioloop import IOLoop

import dask_gridengine.options  # noqa: F401 - before distributed copies Dask's config
from dask_gridengine.launchers.local.semaphores import (
    PREFIX,
    SHARED_MEMORY,
    remove_stale,
)
from tests.waiting import wait_until
from tests.workers import Steps

#: Threads that Dask, tqdm and concurrent.futures keep for the life of the process.
KEPT_THREADS = (
    "Dask-",
    "TCP-Executor",
    "asyncio_",
    "Profile",
    "ThreadPoolExecutor",
    "tqdm_monitor",
)

#: The last Tornado for Python 3.10 leaves the sockets of connection attempts that were
#: given up to the kernel, which needs two minutes for each.
OLD_TORNADO = sys.version_info < (3, 11)

#: Older Pythons leave to the garbage what they wrap in TLS just after the other side, a
#: worker that ends, has reset the connection (python/cpython#113280). It has no remote
#: address any more; sockets that have one are still an error. Ours are of a subclass.
RESET_SOCKET = (
    r"ignore:unclosed <[\w.]+Socket [^<>]*laddr=\([^<>()]*\)>$:ResourceWarning"
    if sys.version_info < (3, 13)
    else ""
)

#: Tests marked ``long``: 40 % of the time of all tests on local processes. Faults and
#: walltimes need their time, pages and the ecosystem start a Python for each example.
LONG = (
    "chaos/",
    "views/test_page.py",
    "docs/",
    "ecosystem/",
    "gridengine/test_chunks.py",
    "gridengine/test_example.py",
    "gridengine/test_failures.py",
    "gridengine/test_imap.py",
    "gridengine/test_replaced_nodes.py",
    "gridengine/test_scaling.py",
    "gridengine/test_schedulers.py",
    "net/test_networks.py",
    "reconcile/test_rotation.py",
    "worker/test_network.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Have SIGINT work in what tests start, also where a shell ignores it (nohup)."""
    if OLD_TORNADO:
        config.addinivalue_line("filterwarnings", "ignore:unclosed <socket")
    if RESET_SOCKET:
        config.addinivalue_line("filterwarnings", RESET_SOCKET)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ``ci/test quick`` leaves out."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here) if here in item.path.parents else ""
        if str(place).startswith(LONG):
            item.add_marker("long")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Steps]:
    """Tasks that are controlled by files; all of them end with the test."""
    made = Steps(tmp_path)
    yield made
    for log in tmp_path.glob("*.begun"):  # a thread of a failed test must end, too
        made.end(log.stem)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves threads, child processes or descriptors behind."""
    threads, fds = set(threading.enumerate()), _descriptors()
    before, semaphores = set(_children()), _semaphores()
    yield
    if _new_threads(threads) or _children().keys() - before or _descriptors() - fds:
        gc.collect()  # a tenth of a second, so not after each of a thousand tests
    wait_until(lambda: not _new_threads(threads), "threads gone", 10, _thread_names)
    wait_until(
        lambda: not _children().keys() - before,
        "child processes gone",
        10,
        lambda: [line for pid, line in _children().items() if pid not in before],
    )
    wait_until(
        lambda: not _left_semaphores(semaphores),
        "semaphores unlinked",
        5,
        lambda: sorted(_left_semaphores(semaphores)),
    )
    if request.node.get_closest_marker("keeps_cluster"):
        return  # its connections come and go
    if OLD_TORNADO:
        return
    if _descriptors() - fds:
        _drop_closed_loops()
    wait_until(
        lambda: not (_descriptors() - fds),
        "file descriptors closed",
        5,
        lambda: sorted(_descriptors() - fds),
    )


def _drop_closed_loops() -> None:
    """Free sockets of closed loops, which Tornado keeps until it makes a new loop.

    A connection is among them if its peer was amid the TLS handshake.
    """
    loops = IOLoop._ioloop_for_asyncio
    for loop in [loop for loop in loops if loop.is_closed()]:
        del loops[loop]
    gc.collect()


class _Illegal(logging.Handler):
    """Collects what the registry logs of states that cannot follow each other."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(autouse=True)
def legal_transitions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which a node came into a state that cannot follow."""
    log, illegal = logging.getLogger("dask_gridengine.nodes.registry"), _Illegal()
    log.addHandler(illegal)
    yield
    log.removeHandler(illegal)
    if request.node.get_closest_marker("illegal_transition") is None:
        assert illegal.messages == []


def _children() -> dict[int, list[str]]:
    """Return the command lines of child processes, by process id."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found[child.pid] = child.cmdline()
    return found


def _semaphores() -> set[str]:
    """Names of semaphores on this host that nodes made; killed ones leave theirs."""
    return {path.name for path in SHARED_MEMORY.glob(f"sem.{PREFIX}-*")}


def _left_semaphores(before: set[str]) -> set[str]:
    """Return new ones that no process uses; other tests may run at the same time."""
    left = _semaphores() - before
    if left:
        remove_stale()  # as the next node on this host does
        left = _semaphores() - before
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                maps = Path(f"/proc/{process.pid}/maps").read_text()
                left = {name for name in left if f"/{name}" not in maps}
    return left


def _thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def _new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before
        and not thread.name.startswith(KEPT_THREADS)
        # Of a worker in this process: its pool grows where a task has seceded.
        and "Dask-Default-Threads" not in thread.name
    ]


def _descriptors() -> set[str]:
    """Return open files and sockets by name."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the listing's own
        if target.startswith(("socket:", "pipe:", "/")) and "/dev/" not in target:
            found.add(target)
    return found


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory that the nodes see."""
    directory = tmp_path / "shared"
    directory.mkdir()
    return directory


@pytest.fixture
def options(shared: Path) -> dict[str, Any]:
    """Options of a cluster of two local processes, whose files a test can look at."""
    return {
        "launcher": "process",
        "slots": 2,
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "quiet": True,
    }
