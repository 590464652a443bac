"""What a node becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.nodes.allocation import allocate, memory_limit
from dask_gridengine.options import Options
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
    ("asked", "granted", "limit"),
    [
        (None, {"host_memory": 8 * GB, "host_cpus": 2}, GB),
        (None, {"host_memory": 8 * GB, "host_cpus": 2, "memory": 4 * GB}, GB // 2),
        (3 * GB, {"host_memory": 8 * GB, "host_cpus": 2}, 3 * GB),
    ],
)
def test_local_nodes_share_the_memory_of_their_machine(
    asked: int | None, granted: dict[str, int], limit: int
) -> None:
    """So do they with a limit of the machine; a user's figure is taken as it is."""
    assert memory_limit(asked, hello(**granted), share=1 / 8) == limit


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


def test_where_to_listen_is_told_in_dasks_words() -> None:
    """Nannies take from the workers' ports."""
    given = {"worker_interface": "ib0", "worker_port": "9000:9100"}
    made = allocate(Options.resolve(given), scheduler(), None, "ge-0", hello())
    assert (made.interface, made.port) == ("ib0", "9000:9100")
    assert made.nanny_port == "9000:9100"
    made = allocate(Options.resolve({}), scheduler(), None, "ge-0", hello())
    assert (made.interface, made.port, made.nanny_port) == ("", "", "")
