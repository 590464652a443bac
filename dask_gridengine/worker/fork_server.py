"""A fork server that is forked, not executed: Dask is imported once per node.

A Nanny starts its worker in a child process. By ``spawn`` the child imports distributed
a second time; by plain ``fork`` it inherits the locks that the Nanny's threads happen
to hold. Python's own fork server has neither fault, but is a new Python process, so it
imports distributed a second time, too. Here it is *forked* from the node while the node
still has a single thread: it inherits the imports, never has a second thread, and every
worker, first or restarted, is forked from it.

`multiprocessing` starts its two servers (fork server and resource tracker) by
``util.spawnv_passfds(path, argv, fds)``. `start` replaces that for a moment by a
function that forks and runs the code in ``argv``, so nothing of their protocol is
repeated here. Where a Python starts them differently, `start` returns False, and Dask
spawns its workers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

#: Grid Engine sends these to a job's whole process group (``-notify``, s_rt). Only the
#: node itself may act on them, or the worker ends before it has drained.
NOTIFY_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)


def threads() -> int:
    """Count the threads of this process, those of C libraries included.

    Linux only: elsewhere it returns 2, so that nothing is forked.
    """
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 2


def leave_signals_to_node(*, children_too: bool = False) -> None:
    """Ignore the grid's signals in this process, which is not the node.

    Slurm sends SIGTERM to every process of a job, Grid Engine `NOTIFY_SIGNALS`. Also
    processes that are forked from this one ignore SIGTERM if `children_too`.
    """
    for number in NOTIFY_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Not SIG_IGN: programs that a task starts would inherit it, and then
    # `subprocess.Popen.terminate` has no effect. Forks inherit a handler, too.
    signal.signal(signal.SIGTERM, _ignore)
    parent = os.getpid() if children_too else None

    def restore() -> None:
        if os.getppid() != parent:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    os.register_at_fork(after_in_child=restore)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


def kill_workers_to_end_them() -> None:
    """Have `multiprocessing` in this process send SIGKILL where it sends SIGTERM.

    Workers ignore SIGTERM. Dask sends it to one that uses too much memory or does not
    start, and Python to all that are left at exit, for which it then waits.
    """
    from multiprocessing import popen_fork

    popen_fork.Popen.terminate = popen_fork.Popen.kill  # type: ignore[method-assign]


def start() -> bool:
    """Fork the servers of `multiprocessing`, after the imports, before any thread.

    Returns False, with nothing changed, if this process has other threads or this
    Python starts its servers in another way.
    """
    from multiprocessing import forkserver, util  # 6 ms that the hello need not wait

    if (running := threads()) != 1 or not hasattr(util, "spawnv_passfds"):
        # E.g. OpenBLAS's, where OMP_NUM_THREADS is above 1 and numpy is imported.
        sys.stderr.write(f"dask_gridengine: {running} threads run, so spawning\n")
        return False
    # A handler of the node's must not run in a server that is not yet set up.
    unblocked = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGTERM, *NOTIFY_SIGNALS}
    )
    execute = util.spawnv_passfds
    forked: list[int] = []

    def spawnv_passfds(
        path: bytes, args: Sequence[str | bytes], fds: Sequence[int]
    ) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        if pid := os.fork():
            forked.append(pid)
            return pid
        util.spawnv_passfds = execute  # for the servers that a worker starts itself
        _serve([os.fsdecode(arg) for arg in args], fds, unblocked)

    os.register_at_fork(after_in_child=_reseed_numpy)
    util.spawnv_passfds = spawnv_passfds  # type: ignore[assignment]
    try:
        forkserver.set_forkserver_preload([])  # all it needs is imported already
        forkserver.ensure_running()
    except OSError as exc:  # a TMPDIR too long for the name of a Unix socket
        sys.stderr.write(f"dask_gridengine: no fork server, spawning: {exc}\n")
    finally:
        util.spawnv_passfds = execute
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return len(forked) == 2


def _serve(argv: Sequence[str], fds: Sequence[int], mask: Iterable[int]) -> NoReturn:
    """In a fork, run ``python ... -c CODE`` of `argv` with only `fds` left open."""
    from multiprocessing import forkserver

    status = 1
    try:
        leave_signals_to_node(children_too=True)  # those are the workers
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # The fork holds it: a worker that starts processes would wait for ever.
        forkserver._forkserver._lock = threading.Lock()  # type: ignore[attr-defined]
        code = argv[list(argv).index("-c") + 1]
        _close_all_but({0, 1, 2, *fds})
        exec(compile(code, "<multiprocessing server>", "exec"), {})
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
    finally:
        # Never return into the node's stack, whatever the server did.
        os._exit(status)


def _reseed_numpy() -> None:
    """Give each worker its own random numbers; Python does so for `random` only."""
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()


def _close_all_but(keep: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in keep:
            # The directory's own descriptor is in its listing and closed by now.
            try:
                os.close(int(name))
            except OSError:
                continue
