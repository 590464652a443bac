"""Prefect and JupyterLab make clusters of jobs on a real Grid Engine."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ecosystem import frameworks
from tests.grid.conftest import Cell

pytestmark = [pytest.mark.grid, pytest.mark.timeout(300)]


def test_jupyterlab_extension_controls_jobs(
    grid: Cell, options: dict[str, Any]
) -> None:
    """The extension's buttons start, scale, adapt and close a cluster of jobs."""
    frameworks.jupyterlab_extension(options)
