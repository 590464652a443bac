"""Allocations, and the import path in them."""

from __future__ import annotations

import os
import sys
import sysconfig
from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.nodes.allocation import allocate, import_path, memory_limit
from dask_gridengine.options import Options
from tests.samples import hello

GB = 10**9


def scheduler(**changes: Any) -> Any:
    """The two attributes of a Scheduler that an allocation depends on."""
    return SimpleNamespace(
        **{"contact_address": None, "address": "tls://10.0.0.9:8786", **changes}
    )


@pytest.mark.parametrize(
    ("requested", "granted", "share", "limit"),
    [
        (GB, {}, None, GB),
        (GB, {"memory": GB // 2}, None, GB // 2),
        (GB, {"memory": 2 * GB}, None, GB),
        (0, {}, None, 0),
        (0, {"memory": GB}, None, GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "slots": 1}, None, 2 * GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "slots": 3}, None, 6 * GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "slots": 9}, None, 8 * GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "memory": GB}, None, GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 2}, 1 / 8, GB),
        (None, {"host_memory": 8 * GB, "memory": 4 * GB}, 1 / 8, GB // 2),
        (3 * GB, {"host_memory": 8 * GB, "host_cpus": 2}, 1 / 8, 3 * GB),
    ],
)
def test_memory_is_the_requested_but_never_more_than_granted(
    requested: int | None, granted: dict[str, int], share: float | None, limit: int
) -> None:
    """A limit of the grid is never exceeded; local nodes share their machine."""
    assert memory_limit(requested, hello(**granted), share) == limit


@pytest.mark.parametrize(
    ("slots", "options", "nthreads", "pools"),
    [
        (1, {}, 1, "1"),
        (4, {}, 4, "1"),
        (4, {"nthreads": 1}, 1, "4"),
        (4, {"nthreads": 8}, 8, "1"),
    ],
)
def test_threads_and_pools_follow_the_granted_slots(
    slots: int, options: dict[str, int], nthreads: int, pools: str
) -> None:
    """Threads times pool size is the number of slots."""
    resolved = Options.resolve({"worker_options": options})
    made = allocate(resolved, scheduler(), None, "ge-0", hello(slots=slots), config={})
    assert made.nthreads == nthreads
    assert made.environment["OMP_NUM_THREADS"] == pools
    assert "nthreads" not in made.options
    resolved = Options.resolve({"environment": {"OMP_NUM_THREADS": 7}})
    made = allocate(resolved, scheduler(), None, "ge-0", hello(), config={})
    assert made.environment["OMP_NUM_THREADS"] == "7", "the user's own"


def test_interface_and_ports_of_the_worker() -> None:
    """Nannies use the workers' ports."""
    given = {"worker_interface": "ib0", "worker_port": "9000:9100"}
    made = allocate(
        Options.resolve(given), scheduler(), None, "ge-0", hello(), config={}
    )
    assert (made.interface, made.port) == ("ib0", "9000:9100")
    assert made.nanny_port == "9000:9100"
    made = allocate(Options.resolve({}), scheduler(), None, "ge-0", hello(), config={})
    assert (made.interface, made.port, made.nanny_port) == ("", "", "")


def test_the_installation_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node has the standard library and site-packages of its own Python."""
    packages = sysconfig.get_path("purelib")
    egg = os.path.join(packages, "some.egg")
    monkeypatch.setattr(
        "sys.path", [*sys.path, sysconfig.get_path("stdlib"), packages, egg, "/added"]
    )
    found = import_path("/work")
    assert found[-1] == "/added"
    assert not [place for place in found if "-packages" in place]
    assert not [place for place in found if place.startswith(sys.base_prefix + "/lib/")]


def test_relative_entries_are_below_the_working_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They become absolute paths, each once and in order. Python ignores others."""
    monkeypatch.setattr("sys.path", ["", "src", "/base/src", None, "../lib", "/other/"])
    assert import_path("/base") == ["/base", "/base/src", "/lib", "/other"]
    assert import_path("") == ["/base/src", "/other"]
