"""Errors and causes: their tree, and in one golden file what users read of each."""

from __future__ import annotations

import inspect
import os
import pickle
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_gridengine import errors
from dask_gridengine.batch import batch_system
from dask_gridengine.errors import (
    DrmCommunicationError,
    GridEngineError,
    GridFull,
    OptionError,
    SubmitError,
)
from dask_gridengine.exit_causes import EXIT_STATUS, Cause, Diagnosis

SENTENCES = Path(__file__).parent / "golden" / "sentences.txt"
#: Arguments of each class that takes more than a message.
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "LauncherUnavailable": ("drmaa", "no SGE_ROOT", "source settings.sh"),
    "SubmitError": ("unknown queue\n", 7, "-q nowhere", "qsub -w v"),
    "GridFull": ("only 3 jobs are allowed per user", 7, ""),
    "ArrayTooLarge": ("a job with more than 3 tasks", 7, "", "", 3),
    "ModuleMissing": ("mymod", "node1", "/usr/bin/python3", "/home/x/mymod.py", True),
    "Unsatisfiable": ({"GPU": 1}, {"cpu": {}}, ["fit-1"]),
    "ClusterNotRunning": ("mine", "closed"),
    "NoAnswer": ("mine", {"10.0.0.1:4711": "connection refused"}),
    "NodesFailed": (5, 2, ["3 nodes were rejected", "node 3.1 was killed"]),
}
CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, Exception)
]


def example(cls: type[GridEngineError]) -> GridEngineError:
    if cls.__name__ in ARGUMENTS:
        return cls(*ARGUMENTS[cls.__name__])
    return cls("what failed: why", hint="what to type")


def sentences() -> Iterator[str]:
    for cls in CLASSES:
        yield f"{cls.__name__}: {example(cls)}"
    for more in (
        SubmitError("no free slot", 1, None),
        SubmitError("no", 1, ""),
        errors.ModuleMissing("mymod", "node1", "/usr/bin/python3", "/home/x/mymod.py"),
        errors.ModuleMissing("mymod", "node1", "/usr/bin/python3"),
        errors.ClusterNotRunning("mine", "created"),
        errors.Unsatisfiable({"GPU": 2}, {"": {"GPU": 1}}, ["fit-1", "fit-2"]),
    ):
        yield f"{type(more).__name__}: {more}"
    for cause in Cause:
        yield f"{cause.name}: {Diagnosis(cause=cause).sentence('node 3.1')}"


def test_sentences_are_those_of_the_golden_file() -> None:
    """Other tests assert types, causes and attributes; texts are held here alone.

    After a change of texts run this with REWRITE_GOLDEN=1, and read the difference.
    """
    text = "\n".join(sentences()) + "\n"
    if os.environ.get("REWRITE_GOLDEN"):
        SENTENCES.write_text(text)
    assert text.splitlines() == SENTENCES.read_text().splitlines()


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling(cls: type[GridEngineError]) -> None:
    """An error that crosses a process keeps its text, its hint and its attributes."""
    error = example(cls)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_hint_is_an_attribute_and_the_last_line(cls: type[GridEngineError]) -> None:
    """Code reads the attributes; people read both, in at most five lines."""
    error = example(cls)
    assert "Hint:" not in error.message
    assert str(error) == errors.with_hint(error.message, error.hint)
    assert len(str(error).splitlines()) <= 5


def test_a_full_grid_is_recognised() -> None:
    """By the message of Son of Grid Engine 8.1.9; other refusals are final."""
    full = "job rejected: only 3 jobs are allowed per user (current job count: 3)"
    assert GridFull.matches(full)
    assert not GridFull.matches("job rejected: no suitable queues")


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The docstring shows every class, one level below its parent."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    tree = (errors.__doc__ or "").partition("::\n")[2]
    for line in textwrap.dedent(tree.partition("\n\nEach error")[0]).splitlines():
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


def test_no_status_makes_grid_engine_run_or_park_the_job_again() -> None:
    """99 reruns a job and 100 puts it into Eqw; a node never exits with either."""
    assert not {99, 100} & set(EXIT_STATUS.values())


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.is_failure])
def test_every_failure_has_a_hint(cause: Cause) -> None:
    """No failure leaves its reader without a next step; some are of the grid."""
    advised = batch_system("gridengine").with_advice(Diagnosis(cause=cause))
    sentence = advised.sentence("node 3.1", "3")
    assert "Hint: " in sentence
    assert "{" not in sentence


def test_what_was_requested_is_no_failure() -> None:
    """An end that was requested is not reported as a failure."""
    assert not any(cause.is_failure for cause in Cause if cause.on_purpose)


def test_only_failures_can_be_a_hosts_fault() -> None:
    """A host is not blocked for what a limit, a user or the network did."""
    failed_hosts = {cause for cause in Cause if cause.may_be_host_fault}
    assert all(cause.is_failure for cause in failed_hosts)
    assert Cause.NO_PYTHON in failed_hosts
    assert not failed_hosts & {
        Cause.MEMORY,
        Cause.WALLTIME,
        Cause.DELETED,
        Cause.REJECTED,
    }


def test_a_sentence_has_singular_plural_and_its_own_advice() -> None:
    """One node was, two were; exact advice replaces the general one."""
    diagnosis = Diagnosis(cause=Cause.DELETED)
    assert diagnosis.sentence("node 3.1") == "node 3.1 was deleted"
    assert diagnosis.sentence("2 nodes", many=True) == "2 nodes were deleted"
    exact = Diagnosis(cause=Cause.MEMORY, advice="request memory='12 GB'")
    assert exact.sentence("it").endswith("Hint: request memory='12 GB'")
