"""Which devices each worker of a node sees."""

from __future__ import annotations

import pytest

from dask_gridengine.worker.gpu import devices, share


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, []),
        ({"SGE_HGR_gpu": "0 1"}, ["0", "1"]),
        ({"SGE_HGR_GPU": "gpu0,gpu3"}, ["0", "3"]),
        ({"SGE_HGR_cuda_card": "GPU-6fd2"}, ["GPU-6fd2"]),
        ({"SGE_HGR_licence": "7"}, []),
        ({"CUDA_VISIBLE_DEVICES": "2,5", "SGE_HGR_gpu": "0 1"}, ["2", "5"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_devices_are_found(environ: dict[str, str], found: list[str]) -> None:
    """What the site has made visible has precedence over a resource map."""
    assert devices(environ) == found


@pytest.mark.parametrize(
    ("granted", "processes", "shares"),
    [
        ("0 1 2 3", 2, ["0,2", "1,3"]),
        ("0 1 2", 2, ["0,2", "1"]),
        ("4", 3, ["4", "4", "4"]),
        ("4 7", 3, ["4", "7", "4"]),
    ],
)
def test_workers_of_a_node_share_its_devices(
    granted: str, processes: int, shares: list[str]
) -> None:
    """Each device is used, and each worker has one."""
    environ = {"SGE_HGR_gpu": granted}
    seen = [share(environ, index, processes) for index in range(processes)]
    assert seen == [{"CUDA_VISIBLE_DEVICES": mine} for mine in shares]
