"""A job on its worker, and without one."""

from __future__ import annotations

import functools
import math
import pickle
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Queue

from gridengine.controller import (
    Ended,
    JobController,
    exit_code,
    needs_argument,
    perform,
    perform_once,
    takes_controller,
    ticket_name,
)
from gridengine.errors import NotPicklable, WorkerDied
from gridengine.job import Job

pytestmark = pytest.mark.keeps_cluster


def with_one(x: int, controller: Any = None) -> Any:
    return controller


def by_name_only(*, controller: Any) -> Any:
    return controller


def by_place_only(controller: Any, /) -> Any:
    return controller


def with_any(**kwargs: Any) -> Any:
    return kwargs


@functools.wraps(with_one)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return with_one(*args, **kwargs)


def test_who_gets_a_controller() -> None:
    """Whoever has a parameter of that name which is free; **kwargs is none."""
    cases: list[tuple[Any, tuple[Any, ...], dict[str, Any], bool]] = [
        (with_one, (1,), {}, True),
        (with_one, (1, 2), {}, False),
        (with_one, (1,), {"controller": 3}, False),
        (with_one, (1, 2, 3), {}, False),
        (by_name_only, (), {}, True),
        (by_place_only, (), {}, False),
        (with_any, (), {}, False),
        (wrapped, (1,), {}, True),
        (functools.partial(with_one, 1), (), {}, True),
        (functools.partial(with_one, 1, 2), (), {}, False),
        (math.sqrt, (), {}, False),
        (dict, (), {}, False),
        (JobController(0, 0, None).send, (), {}, False),
    ]
    for function, args, kwargs, takes in cases:
        assert takes_controller(function, args, kwargs) is takes, (function, args)


def test_who_needs_an_argument() -> None:
    """A run() with one parameter, whatever its name; but none without a signature."""
    assert needs_argument(by_place_only)
    assert not needs_argument(with_any)
    assert not needs_argument(dict)


def test_exit_codes() -> None:
    """As multiprocessing, and the operating system, make them."""
    codes = {None: 0, 5: 5, 256: 0, -1: 255, "why": 1}
    assert {code: exit_code(SystemExit(code)) for code in codes} == codes
    assert (exit_code(None), exit_code(ValueError())) == (0, 1)


def test_a_controller_without_a_worker() -> None:
    """It knows its job and host; it cannot send, and says so."""
    controller = JobController(3, 99, "a channel")
    assert (controller.id, controller.jobid, controller.worker) == (3, 3, "")
    assert controller.host_name == socket.gethostname()
    with pytest.raises(RuntimeError, match="job 3 has no host to send to"):
        controller.send(1)
    with pytest.raises(ValueError, match="this is job 3; it cannot store for 4"):
        controller.store(4, 1)
    assert pickle.loads(pickle.dumps(controller)).jobid == 3


def test_a_job_is_performed_here_too() -> None:
    """Results, ends by sys.exit, and the attributes of mutable jobs."""

    def begun(**options: Any) -> Job:
        job = Job(**options)
        job._begin(7)
        return job

    assert perform(None, begun(target=pow, args=(2, 3))) == 8
    assert perform(None, begun(target=sys.exit)) is None
    with pytest.raises(SystemExit):
        perform(None, begun(target=sys.exit, args=(2,)))
    found = perform(None, begun(mutable=True, target=sys.exit, args=(2,)))
    assert isinstance(found, Ended)
    assert found.failure is not None
    assert found.failure.index == 7
    assert found.attributes["args"] == (2,)
    assert not found.attributes.keys() & {"target", "id", "_at_host", "_ident"}


def test_a_ticket_is_good_for_one_run(client: Client, tmp_path: Path) -> None:
    """However often Dask runs the task, the job is begun once; its end is kept."""

    def note(size: int) -> bytes:
        with (tmp_path / str(size)).open("a") as file:
            file.write("once")
        return bytes(size)

    for size in 10, 1_000_000:
        job = Job(target=note, args=(size,))
        run = job._begin(0)
        ticket = Queue(ticket_name("a-channel", run.ident), client=client)
        ticket.put(True)
        once = functools.partial(perform_once, "a-channel")
        assert client.submit(once, job, pure=False).result(10).value == bytes(size)
        for _ in range(2):
            again = client.submit(once, job, pure=False)
            if size == 10:
                assert again.result(10).value == bytes(size)
            else:
                with pytest.raises(WorkerDied, match="begun before"):
                    again.result(10)
        assert (tmp_path / str(size)).read_text() == "once"
        ticket.close()
        run.end(None, None)


def test_nobody_listens(client: Client) -> None:
    """Sending to a host that has gone, or what cannot be sent, is an error there."""

    def send(value: Callable[[], Any]) -> None:
        JobController(5, 99, "no-such-channel").send(value())

    with pytest.raises(RuntimeError, match="job 5 has no host to send to: that has"):
        client.submit(send, int).result(10)
    with pytest.raises(NotPicklable, match="the message"):
        client.submit(send, threading.Lock).result(10)
