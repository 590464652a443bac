"""What a process of ours loads; ``.importlinter`` holds the order of the packages."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"dask", "distributed", "tornado", "asyncio", "psutil", "cryptography", "yaml"}


def loaded_with(module: str) -> set[str]:
    """Names of all modules that a new Python has after importing one."""
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    return set(json.loads(subprocess.check_output([sys.executable, "-c", code])))


@pytest.mark.parametrize(
    "module",
    ["dask_gridengine.node", "dask_gridengine.launchers.drmaa.process"],
)
def test_no_dask_is_loaded_before_it_is_needed(module: str) -> None:
    """A node says hello, and the DRMAA child starts, without paying for Dask."""
    loaded = loaded_with(module)
    assert module in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "module", ["dask_gridengine.cluster.cluster", "dask_gridengine.cli", "gridengine"]
)
def test_only_the_drmaa_child_loads_libdrmaa(module: str) -> None:
    """It cannot be loaded into a user's Python: one session, and it may crash."""
    assert "drmaa" not in loaded_with(module)
