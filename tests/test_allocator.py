"""What a node becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.allocator import allocate, contact, memory_limit
from dask_gridengine.config import Options
from tests.samples import hello

GB = 10**9


def scheduler(**changes: Any) -> Any:
    """The two attributes of a Scheduler that an allocation depends on."""
    return SimpleNamespace(
        **{"contact_address": None, "address": "tls://10.0.0.9:8786", **changes}
    )


@pytest.mark.parametrize(
    ("asked", "granted", "limit"),
    [
        (GB, {}, GB),
        (GB, {"memory": GB // 2}, GB // 2),
        (GB, {"memory": 2 * GB}, GB),
        (0, {}, 0),
        (0, {"memory": GB}, GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "slots": 1}, 2 * GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "slots": 3}, 6 * GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "slots": 9}, 8 * GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 4, "memory": GB}, GB),
    ],
)
def test_memory_is_what_was_asked_but_never_more_than_granted(
    asked: int | None, granted: dict[str, int], limit: int
) -> None:
    """A worker's limit never exceeds what the grid would kill it for."""
    assert memory_limit(asked, hello(**granted)) == limit


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
    """Threads times pool size is the slots, whatever was asked for."""
    resolved = Options.resolve({"worker_options": options})
    made = allocate(resolved, scheduler(), None, "ge-0", hello(slots=slots))
    assert made.nthreads == nthreads
    assert made.environment["OMP_NUM_THREADS"] == pools
    assert "nthreads" not in made.options


def test_the_users_environment_has_the_last_word() -> None:
    """A variable of the user's overrides one of ours."""
    resolved = Options.resolve({"environment": {"OMP_NUM_THREADS": 7}})
    made = allocate(resolved, scheduler(), None, "ge-0", hello())
    assert made.environment["OMP_NUM_THREADS"] == "7"


def test_a_node_finds_the_scheduler_where_it_found_the_door() -> None:
    """The address that answered the node leads to the scheduler too."""
    assert contact(scheduler(), "192.168.7.1:4711") == "tls://192.168.7.1:8786"
    assert contact(scheduler(address="tcp://0.0.0.0:1"), "[::1]:2") == "tcp://[::1]:1"


def test_a_contact_address_of_the_users_counts() -> None:
    """Behind NAT the user says where the scheduler is."""
    told = scheduler(contact_address="tls://login.example:9000")
    assert contact(told, "10.0.0.1:4711") == "tls://login.example:9000"
