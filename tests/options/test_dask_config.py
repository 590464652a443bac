"""Options in Dask's configuration, and the part of it that nodes get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_gridengine import GridEngineCluster, OptionError
from dask_gridengine.dask_config import DEFAULTS, configured, differing_config


def test_only_what_differs_is_sent() -> None:
    """Nodes have the defaults; what concerns the client stays here."""
    with dask.config.set(
        {
            "distributed.worker.memory.target": 0.123,
            "distributed.worker.memory.spill": dask.config.get(
                "distributed.worker.memory.spill"
            ),
            "array.chunk-size": "1 MiB",
            "gridengine.queue": "long.q",
            "scheduler": "dask.distributed",
            "scheduler-address": "tcp://nowhere:1",
        }
    ):
        assert differing_config() == {
            "distributed": {"worker": {"memory": {"target": 0.123}}},
            "array": {"chunk-size": "1 MiB"},
        }


@pytest.mark.parametrize(
    "value",
    [print, {1, 2}, (1, 2), np.arange(3), float("inf"), {1: 2}, [object()], b"x"],
)
def test_a_value_that_json_cannot_represent_stays_here(value: object) -> None:
    """The other values beside it are sent."""
    with dask.config.set({"site": {"odd": value, "plain": [1, None, "x"]}}):
        assert differing_config() == {"site": {"plain": [1, None, "x"]}}


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda key: "." not in key),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=3) | st.integers(), inner)
            ),
            max_leaves=8,
        ),
        max_size=3,
    )
)
@settings(max_examples=50, deadline=None)
def test_what_is_sent_arrives_unchanged(site: dict[str, Any]) -> None:
    """JSON changes none of it."""
    with dask.config.set({"site-of-ours": site}):
        sent = differing_config()
    assert json.loads(json.dumps(sent, allow_nan=False)) == sent


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
