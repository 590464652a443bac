"""The exceptions of `gridengine`."""

from __future__ import annotations

import builtins
import inspect
import os
import pickle
import re
import threading
import time
from typing import Any

import pytest

import gridengine
from dask_gridengine import GridEngineError
from gridengine import errors
from gridengine.errors import NotPicklable, RemoteError, RemoteTraceback, WorkerDied

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, Exception) and cls.__module__ == errors.__name__
]


def make(x: int) -> Any:
    """Fail in as many ways as there are."""
    if x == 0:
        os._exit(1)
    if x == 1:
        return threading.Lock()
    raise ValueError(threading.Lock() if x == 2 else x)


def test_every_error_survives_pickling(fresh: gridengine.ProcessScheduler) -> None:
    """An error has the same message and attributes in another process."""
    found = gridengine.map(make, range(4), fresh, reraise=False)
    job = gridengine.Job(target=time.sleep, args=(60,), scheduler=fresh)
    job.start()
    with pytest.raises(gridengine.TimeoutError) as late:
        job.result(0.01)
    job.terminate()
    found = [*found[:3], found[3].__cause__, late.value]
    kinds = [
        WorkerDied,
        NotPicklable,
        RemoteError,
        RemoteTraceback,
        gridengine.TimeoutError,
    ]
    assert [type(exc) for exc in found] == kinds
    assert set(kinds) == set(CLASSES), "a new class needs an example"
    for exc in found:
        copy = pickle.loads(pickle.dumps(exc))
        assert type(copy) is type(exc)
        assert (str(copy), copy.args, vars(copy)) == (str(exc), exc.args, vars(exc))
        assert type(exc) is RemoteTraceback or "\n" in str(exc), "what to do is missing"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class stands there, below its parent, with a few words."""
    drawn: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"( [|`]- )?([A-Z]\w+)  +\S", line):
            drawn[found[2]] = "GridEngineError" if found[1] else "Exception"
    assert drawn == {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES}


def test_users_catch_them_by_what_python_calls_them() -> None:
    """A timeout is a TimeoutError, what cannot be pickled a TypeError."""
    assert gridengine.TimeoutError is gridengine.schedulers.TimeoutError
    assert issubclass(gridengine.TimeoutError, builtins.TimeoutError)
    assert issubclass(NotPicklable, TypeError)
    for name in ("TimeoutError", "NotPicklable", "RemoteError", "WorkerDied"):
        assert issubclass(getattr(gridengine, name), GridEngineError)
