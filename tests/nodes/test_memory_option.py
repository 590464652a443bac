"""Advice on memory names the option that sets the limit, and a larger value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.errors import OptionError
from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.nodes.diagnosis import diagnose_end
from dask_gridengine.nodes.memory_option import (
    larger_memory,
    larger_worker,
    more_memory,
)
from dask_gridengine.options import Options

MIB, GIB = 2**20, 2**30


def options(**given: Any) -> Options:
    return Options.resolve({"shared_directory": "/shared", **given})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"resource_spec": "arch=x,h_vmem=1G"}, "resource_spec='h_vmem=3072M'"),
        ({"resource_spec": "s_data=1G"}, "resource_spec='s_data=3072M'"),
        (
            {"resource_spec": "h_vmem=1G", "cores": 4, "parallel_environment": "smp"},
            "resource_spec='h_vmem=768M', which counts for each slot",
        ),
        (
            {"job_extra_directives": ["-l h_vmem=1G"]},
            "'-l h_vmem=3072M' in job_extra_directives",
        ),
        ({"memory": "2 GiB", "memory_resource": "h_vmem"}, "memory='4 GB'"),
        ({"memory": "2 GiB"}, "resource_spec='h_vmem=3072M'"),
    ],
)
def test_the_option_that_sets_the_limit_is_named(
    given: dict[str, Any], named: str
) -> None:
    """If it counts for each slot, with the share of one."""
    assert named in larger_memory(options(**given), 3 * GIB, of_grid=True)


def test_dasks_own_limit_is_memory_unless_the_grid_sets_it() -> None:
    """A worker's limit is never above what the grid leaves its node."""
    spec = options(resource_spec="h_vmem=1G")
    assert larger_worker(spec, GIB, GIB, 2 * GIB).startswith("resource_spec=")
    assert larger_worker(spec, GIB, 0, 2 * GIB).startswith("memory=")
    assert larger_worker(spec, GIB // 2, GIB, 2 * GIB).startswith("memory=")


@pytest.mark.parametrize("used", [50 * MIB, 100 * MIB, 182 * MIB, 5 * GIB])
def test_advice_is_above_what_was_used(used: int) -> None:
    """With a margin, and never below what an idle node needs to start."""
    end = EndNotice(node=NodeId("7", 1), signal="SIGKILL", address_space=used)

    def larger(size: int) -> str:
        spec = options(resource_spec="h_vmem=100M")
        return larger_memory(spec, size, of_grid=True)

    diagnosis = diagnose_end(end, started=True, memory=50 * MIB, larger=larger)
    found = re.search(r"h_vmem=(\d+)M", diagnosis.advice)
    assert found is not None
    assert int(found[1]) * MIB >= max(used * 1.25, 270 * MIB)
    assert more_memory(used, 50 * MIB) >= used * 1.25


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"memory": 8}, False),
        ({"memory": "60 MB"}, False),
        ({"memory": "200 MB", "processes": 4, "cores": 4}, False),
        ({"memory": "100 MB"}, True),
        ({"memory": 0}, True),  # no limit
    ],
)
def test_too_little_memory_to_start_is_refused(
    given: dict[str, Any], right: bool, tmp_path: Path
) -> None:
    """Bytes where gigabytes were meant: the error shows how to write the unit."""
    if right:
        options(**given)
    else:
        with pytest.raises(OptionError, match=r"memory='8 GB'"):
            options(**given)
