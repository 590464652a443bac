"""Dask's imports on a node."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.stage import client_of, stage

pytest.importorskip("numpy")

IMPORTS = """
import sys
from dask_gridengine.worker.fast_import import (
    host_array, import_dask_without_numpy, yaml_in_c
)
"""


def run(code: str) -> str:
    """The output of a Python that has imported nothing yet."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS + textwrap.dedent(code)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_dask_is_imported_without_numpy_and_uses_it_later() -> None:
    """Its buffers are numpy's as soon as numpy has been imported."""
    output = run("""
        with yaml_in_c(), import_dask_without_numpy():
            import distributed
        finders = [type(finder).__name__ for finder in sys.meta_path]
        print("numpy" in sys.modules, "_NumpyHider" in finders)
        import distributed.comm.tcp, distributed.protocol.utils as utils
        print(distributed.comm.tcp.host_array is utils.host_array is host_array)
        view = utils.host_array(3)
        print(type(view.obj).__name__, view.readonly, len(view), view.format)
        import numpy
        view = utils.host_array(3)
        print(type(view.obj).__name__, view.readonly, len(view), view.format)
        print(bytes(utils.host_array_from_buffers([b"ab", b"cd"])))
        import yaml
        print(yaml.SafeLoader.__name__)
    """)
    assert output.splitlines() == [
        "False False",
        "True",
        "bytearray False 3 B",
        "ndarray False 3 B",
        "b'abcd'",
        "SafeLoader",
    ]


def test_other_modules_can_import_numpy() -> None:
    """Then Dask keeps its own buffers."""
    output = run("""
        with import_dask_without_numpy():
            import numpy
            import distributed.protocol.utils as utils
        print(numpy.ones(2).sum(), utils.host_array is not host_array)
    """)
    assert output == "2.0 True"


def test_dask_works_where_numpy_is_not_installed() -> None:
    """With its own buffers."""
    output = run("""
        sys.modules["numpy"] = None
        with import_dask_without_numpy():
            import distributed.protocol.utils as utils
        print(type(utils.host_array(3).obj).__name__)
    """)
    assert output == "bytearray"


async def test_a_worker_has_numpy_once_a_task_needs_it(tmp_path: Path) -> None:
    """It is forked although numpy would have threads."""

    def look() -> dict[str, Any]:
        return {"numpy": "numpy" in sys.modules, "parent": os.getppid()}

    def total(values: Any) -> float:
        return float(values.sum())

    async with stage(
        tmp_path, environment={"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    ) as on:
        node = on.start_node()
        await on.worker()
        async with client_of(on) as client:
            (before,) = (await client.run(look)).values()
            assert not before["numpy"]
            assert before["parent"] != node.process.pid  # but the fork server's
            import numpy as np

            values = np.arange(300_000.0)
            assert await client.submit(total, values) == values.sum()
            back = await client.submit(np.square, values)
            assert (back == values**2).all()
            (after,) = (await client.run(look)).values()
            assert after["numpy"]
        await on.scheduler.retire_workers(names=["ge-1"], close_workers=True)
        assert await node.ended() == 0
        assert "so spawning" not in node.text()
