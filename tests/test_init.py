"""What `import dask_gridengine` gives, and what it costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dask_gridengine
from dask_gridengine import errors


def test_all_is_complete_and_each_name_is_there() -> None:
    """Names for type checkers, ``__all__`` and attributes are the same."""
    tree = ast.parse(Path(dask_gridengine.__file__).read_text())
    seen = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
        if (node.module or "").startswith("dask_gridengine")
    }
    assert set(dask_gridengine.__all__) == seen
    for name in dask_gridengine.__all__:
        assert getattr(dask_gridengine, name) is not None


def test_errors_a_user_may_meet_are_public() -> None:
    """Only those of a node's own conversation stay inside."""
    inside = {"MessageError", "BootstrapError"}
    assert {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.GridEngineError)
    } - inside <= set(dask_gridengine.__all__)


def test_a_wrong_name_is_an_attribute_error() -> None:
    """As for any module; `hasattr` and `from ... import` rely on it."""
    with pytest.raises(AttributeError, match="no attribute 'GridEngineClutser'"):
        dask_gridengine.GridEngineClutser  # noqa: B018


def test_importing_it_imports_no_dask() -> None:
    """A node imports only what it needs; the errors import nothing."""
    code = (
        "import dask_gridengine, json, sys; dask_gridengine.OptionError;"
        "print(json.dumps(sorted(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=30
    )
    loaded = set(json.loads(ran.stdout))
    assert "dask_gridengine.errors" in loaded
    assert not loaded & {"dask", "distributed", "tornado", "zmq", "yaml", "psutil"}
