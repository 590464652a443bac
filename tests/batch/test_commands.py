"""Running a grid's commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dask_gridengine.batch.commands import run_command


def test_a_command_runs_in_its_environment_and_in_english() -> None:
    """It reads nothing of ours, and its failure is an error."""
    program = (
        "import os, sys; sys.stdin.read(); print(os.environ['A'], os.environ['LC_ALL'])"
    )
    output = run_command([sys.executable, "-c", program], {"A": "b", "LC_ALL": "de_DE"})
    assert output == "b C\n"
    with pytest.raises(subprocess.CalledProcessError):
        run_command([sys.executable, "-c", "exit(1)"], {})
    with pytest.raises(FileNotFoundError):
        run_command(["/no/such/command"], {})
