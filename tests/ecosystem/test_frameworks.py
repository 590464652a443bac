"""Prefect and JupyterLab make clusters of local processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ecosystem import frameworks


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {
        "launcher": "process",
        "slots": 3,
        "shared_directory": str(tmp_path / "shared"),
        "scheduler_options": {"dashboard_address": ":0"},
        "quiet": True,
    }


@pytest.mark.timeout(600)  # a flow takes 40 CPU seconds
def test_prefect_runs_a_flow(options: dict[str, Any], tmp_path: Path) -> None:
    """A flow names the class and its options; its tasks run in the workers."""
    frameworks.prefect_flow(options, tmp_path)


def test_jupyterlab_extension_controls_a_cluster(options: dict[str, Any]) -> None:
    """The class is named in the configuration; the extension does the rest."""
    frameworks.jupyterlab_extension(options)
