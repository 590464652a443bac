"""The exception tree."""

from __future__ import annotations

import inspect
import pickle
import re
import textwrap

import pytest

from dask_gridengine import errors
from dask_gridengine.errors import (
    DrmCommunicationError,
    GridEngineError,
    GridFull,
    LauncherUnavailable,
    NodesFailed,
    OptionError,
    SubmitError,
)

#: What each is raised with, where that is more than a sentence.
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "LauncherUnavailable": ("drmaa", "no SGE_ROOT", "source settings.sh"),
    "SubmitError": ("unknown queue\n", 7, "-q nowhere", "qsub -w v"),
    "GridFull": ("only 3 jobs are allowed per user", 7, ""),
    "ArrayTooLarge": ("a job with more than 3 tasks", 7, "", "", 3),
    "ModuleMissing": ("mymod", "node1", "/usr/bin/python3", "/home/x/mymod.py", True),
    "Unsatisfiable": ({"GPU": 1}, {"cpu": {}}, ["fit-1"]),
    "ClusterNotRunning": ("mine", "closed"),
    "NoAnswer": ("mine", {"10.0.0.1:4711": "connection refused"}),
    "NodesFailed": (5, 2, ["3 nodes were refused", "node 3.1 was killed"]),
}
CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, Exception)
]


def example(cls: type[GridEngineError]) -> GridEngineError:
    return cls(*ARGUMENTS.get(cls.__name__, ("what happened",)))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling(cls: type[GridEngineError]) -> None:
    """An error that crosses a process says there what it said here."""
    error = example(cls)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_full_grid_is_told_by_its_words() -> None:
    """As Son of Grid Engine 8.1.9 says it; other refusals are final."""
    full = "job rejected: only 3 jobs are allowed per user (current job count: 3)"
    assert GridFull.is_meant(full)
    assert not GridFull.is_meant("job rejected: no suitable queues")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class stands there, one level below its parent, with a few words."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    tree = (errors.__doc__ or "").partition("::\n")[2]
    for line in textwrap.dedent(tree.partition("\n\nAn unknown")[0]).splitlines():
        if found := re.match(r"([ |`-]*)([A-Z]\w+)( +\S.*)?$", line):
            depth = len(found[1]) // 4
            if found[2] in dir(errors):
                above[depth:] = [found[2]]
                drawn[found[2]] = above[depth - 1] if depth else "Exception"
    assert drawn == {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES}


def test_one_except_catches_them_all() -> None:
    """Users need one name; a bad value is a ValueError as well, as for any function."""
    assert all(issubclass(cls, GridEngineError) for cls in CLASSES)
    assert issubclass(OptionError, ValueError)
    assert not issubclass(DrmCommunicationError, SubmitError)


def test_they_say_what_to_do_next() -> None:
    """The message is the only debugger on a cluster: evidence, then what to type."""
    unavailable = str(example(LauncherUnavailable))
    assert "no SGE_ROOT\n  what to do: source settings.sh" in unavailable
    refused = str(example(SubmitError))
    assert "nothing was queued: unknown queue\n" in refused
    assert "to check:  qsub -w v\n" in refused
    assert "with (no options)" in str(SubmitError("no", 1, ""))
    failed = str(example(NodesFailed))
    assert failed.startswith("waited for 5 workers, have 2,")
    assert failed.splitlines()[1:] == [
        "  3 nodes were refused",
        "  node 3.1 was killed",
    ]
