"""What a worker loads of `gridengine`; ``.importlinter`` holds the order of modules."""

from __future__ import annotations

from tests.test_imports import loaded_with


def test_a_chunk_loads_little() -> None:
    """A worker loads no Dask, numpy or tqdm of ours to run its first chunk."""
    loaded = loaded_with("gridengine.chunk")
    assert not loaded & {"distributed", "numpy", "tqdm"}
    below = {name for name in loaded if name.startswith("dask_gridengine.")}
    assert below <= {"dask_gridengine.errors", "dask_gridengine._version"}
