"""Defaults hold, also if Dask's configuration is replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest

from dask_gridengine import GridEngineCluster, OptionError
from dask_gridengine.option_defaults import DEFAULTS, configured


def run(code: str, *arguments: str) -> Any:
    """What a program prints, as JSON."""
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_a_cluster_starts_after_the_configuration_was_replaced(tmp_path: Path) -> None:
    """Dask's own tests put back a copy that was made before we were imported."""
    code = """
import json, sys
from distributed.utils_test import reset_config
from distributed import Client
from dask_gridengine import GridEngineCluster

if __name__ == "__main__":
    reset_config()
    with GridEngineCluster(
        jobs=1, launcher="process", shared_directory=sys.argv[1], quiet=True,
        scheduler_options={"dashboard_address": ":0"},
    ) as cluster, Client(cluster) as client:
        print(json.dumps(client.submit(sum, [1, 2]).result()))
"""
    assert run(code, str(tmp_path)) == 3


def test_importing_the_package_registers_its_defaults_with_dask() -> None:
    """`dask.config.get` knows our keys, although no name of ours was used yet."""
    code = """
import json
import dask
import dask_gridengine
print(json.dumps(dask.config.get("gridengine.finish-timeout")))
"""
    assert run(code) == DEFAULTS["gridengine"]["finish-timeout"]


@pytest.mark.parametrize("broken", [{"gridengine": None}, {"gridengine": {}}])
def test_an_empty_section_leaves_the_defaults(broken: dict[str, None]) -> None:
    """``gridengine:`` without a key below it, as a file under construction has it."""
    with dask.config.set(broken):
        for key, default in DEFAULTS["gridengine"].items():
            assert configured(key) == default


def test_a_key_that_is_set_to_none_is_not_missing() -> None:
    """``null`` where a value is needed is an error."""
    with (
        dask.config.set({"gridengine.cores": None}),
        pytest.raises(OptionError, match="cores"),
    ):
        GridEngineCluster(launcher="process", asynchronous=True)
