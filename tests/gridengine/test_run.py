"""One run of a job, without a cluster: what its owner can ask."""

from __future__ import annotations

import logging
import pickle
import threading

import pytest

from gridengine.controller import Ended
from gridengine.errors import TimeoutError, WorkerDied
from gridengine.failure import Failure
from gridengine.job import Job
from gridengine.run import AtHost, Run, Stopped, settle
from gridengine.sealed import Sealed


@pytest.fixture
def run() -> Run:
    return Run("a job", daemon=True)


def test_a_run_that_goes_on(run: Run) -> None:
    """Nothing is known of it, and waiting for it has a limit."""
    assert (run.exitcode, run.ended, run.wait(0)) == (None, False, False)
    with pytest.raises(TimeoutError, match="a job has not ended within 0 s"):
        run.result(0)
    with pytest.raises(TimeoutError, match="a job sent nothing for 0 s"):
        run.receive(0)


def test_how_it_ended() -> None:
    """The exit code says it as a process's would."""
    for error, code in (
        (None, 0),
        (KeyError(1), 1),
        (SystemExit(3), 3),
        (KeyboardInterrupt(), 1),
        (Stopped("it was ended", -15), -15),
        (WorkerDied(None, "a job", 1, "a signal"), -9),
    ):
        run = Run("a job", daemon=True)
        run.end(None, error)
        assert (run.exitcode, run.wait(None), run.exception(None)) == (
            code,
            True,
            error,
        )


def test_the_first_end_counts(run: Run) -> None:
    """Whoever comes later, with an end or a message, changes nothing."""
    run.end("first", None)
    run.end(None, KeyError("second"))
    run.deliver(Sealed.of("third", "a message"))
    assert run.result(None) == "first"
    assert not run.poll(None)


def test_a_waiter_wakes(run: Run) -> None:
    """Waiting ends with the message or the end, in another thread."""
    found: list[object] = []
    waiter = threading.Thread(
        target=lambda: found.extend([run.receive(10), run.result(10)])
    )
    waiter.start()
    run.deliver(Sealed.of([1], "a message"))
    run.end("value", None)
    waiter.join(10)
    assert found == [[1], "value"]


def test_nothing_of_it_travels(run: Run) -> None:
    """A job's copy on a worker has neither its run nor its scheduler."""
    host = AtHost(threading.Lock())
    host.run = run
    assert pickle.loads(pickle.dumps([host])) == [None]


def test_stopped_survives_pickling() -> None:
    """Message and exit code come back."""
    copy = pickle.loads(pickle.dumps(Stopped("it was ended", -15)))
    assert (str(copy), copy.code) == ("it was ended", -15)


def test_a_mutable_job_is_settled() -> None:
    """Attributes, exception and all."""
    job = Job(target=abs)
    run = Run("a job", daemon=True)
    failure = Failure.of(KeyError("x"), 0, job)
    error = settle(job, run, Ended(attributes={"n": 3}, failure=failure), None)
    assert isinstance(error, KeyError)
    assert run.exception(0) is error
    assert vars(job)["n"] == 3


def test_silence_is_broken(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged when its run is forgotten, unless somebody asked."""
    with caplog.at_level(logging.ERROR, "gridengine.run"):
        for name, asks in ("asked", True), ("not asked", False):
            run = Run(name, daemon=True)
            run.end(None, KeyError(name))
            if asks:
                run.exception(0)
            del run
    assert [record.args for record in caplog.records] == [("not asked",)]
