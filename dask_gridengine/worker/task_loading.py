"""Tasks are unpickled on their worker one by one, so that an error fails its task only.

Dask's scheduler sends many tasks in one message, which the worker unpickles as a whole
while it reads it. An exception there, a missing module above all, closes the stream to
the scheduler and with it the worker, without a reason; then the task is tried on the
next worker, until it has closed four.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from functools import lru_cache
from typing import Any, NoReturn

from dask_gridengine.errors import ModuleMissing

#: Seconds for the scheduler to answer where the client has a module.
ANSWER_TIMEOUT = 5.0


class PortableTask:
    """What a task runs, pickled separately within the message to its worker."""

    def __init__(self, key: Any, run_spec: Any) -> None:
        self._key, self._run_spec = key, run_spec
        self._frames: list[pickle.PickleBuffer] = []

    def __reduce__(self) -> tuple[Any, ...]:
        from distributed.protocol.pickle import dumps

        # Once, though Dask may pickle this twice: first by pickle, then by cloudpickle.
        if not self._frames:
            buffers: list[pickle.PickleBuffer] = []
            pickled = dumps(self._run_spec, buffer_callback=buffers.append)
            # All as buffers, which travel beside the pickle and are not copied into it.
            self._frames = [pickle.PickleBuffer(pickled), *buffers]
        return load_task, (self._key, *self._frames)


def load_task(key: Any, pickled: Any, *buffers: Any) -> Any:
    """Unpickle a task; if that fails, return a task that raises the error.

    Called by pickle, while the worker reads its messages.
    """
    try:
        return pickle.loads(pickled, buffers=buffers)
    except BaseException as exc:  # noqa: BLE001 - unpickling runs the user's code
        from dask._task_spec import Task

        if not isinstance(exc, Exception):
            # For example a module that calls sys.exit() when it is imported. As it is,
            # it would end the worker, also when the task raises it.
            exc = RuntimeError(f"could not be loaded: {type(exc).__name__}: {exc}")
        return Task(key, _fail, exc)


def raise_missing(error: ModuleNotFoundError) -> NoReturn:
    """Raise `ModuleMissing` with what is known of the module on both sides.

    Its cause is `error` if that comes from within another module. Only in a thread of a
    task the client is asked for the module's file.
    """
    module = error.name or ""
    path = _path_at_client(module)
    missing = ModuleMissing(
        module, socket.gethostname(), sys.executable, path, os.path.exists(path)
    )
    below = error.__traceback__ and error.__traceback__.tb_next
    raise missing from (error if below else None)


def _fail(error: Exception) -> NoReturn:
    if isinstance(error, ModuleNotFoundError) and error.name:
        raise_missing(error)
    raise error


@lru_cache(maxsize=256)
def _path_at_client(module: str) -> str:
    """Return the module's file in the scheduler's process, or "" if unknown."""
    from distributed.utils import sync
    from distributed.worker import get_worker

    try:
        worker = get_worker()
        path = sync(
            worker.loop,
            worker.scheduler.gridengine_module_file,
            module=module,
            callback_timeout=ANSWER_TIMEOUT,
        )
    except Exception:  # noqa: BLE001 - not in a task, or no answer
        return ""
    return str(path)
