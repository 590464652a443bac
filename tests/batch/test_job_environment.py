"""What nodes read of their own job."""

from __future__ import annotations

import pytest

from dask_gridengine.batch import NAMES
from dask_gridengine.batch.job_environment import read_job_environment

SLURM = {"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "7"}


@pytest.mark.parametrize("name", NAMES)
def test_a_process_without_the_variables_is_not_a_node(name: str) -> None:
    """Nothing is made up, also where a Slurm job is not an array."""
    with pytest.raises(KeyError):
        read_job_environment(name, {"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "9"})


def test_the_raw_number_of_a_slurm_task_is_never_its_id() -> None:
    """Task 9_7 had SLURM_JOB_ID=14."""
    job = read_job_environment("slurm", {"SLURM_JOB_ID": "14", **SLURM})
    assert (job["job"], job["index"]) == ("9", 7)


@pytest.mark.parametrize(
    ("environ", "slots", "mib"),
    [
        ({"SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_NODE": "200"}, 4, 200),
        ({"SLURM_CPUS_ON_NODE": "4", "SLURM_MEM_PER_CPU": "50"}, 4, 200),
        ({"SLURM_MEM_PER_CPU": "50", "SLURM_MEM_PER_NODE": "9"}, 1, 50),
        ({"SLURM_MEM_PER_NODE": "?"}, 1, 0),
    ],
)
def test_slurm_grants_cores_and_memory(
    environ: dict[str, str], slots: int, mib: int
) -> None:
    """Memory is in MB; per CPU is right if a client's own job leaks per node."""
    job = read_job_environment("slurm", {**SLURM, **environ})
    assert (job["slots"], job["memory"]) == (slots, mib * 2**20)
