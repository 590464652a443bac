"""A fake site: programs named as Grid Engine's, with prepared output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.cli.doctor.grid_commands import Grid
from dask_gridengine.options import Options

NAMES = ("qconf", "qselect", "qstat", "qsub", "qquota")
PROGRAM = """\
#!/bin/sh
PATH=/usr/bin:/bin
output="{outputs}/$(basename "$0") $(echo "$*" | tr / _)"
[ -e "$output" ] || {{ echo "no output prepared for: $0 $*" >&2; exit 1; }}
if [ -e "$output.failed" ]; then cat "$output" >&2; exit 1; fi
cat "$output"
"""


class Site:
    """Grid Engine's commands, with the output that a test gives them."""

    def __init__(self, directory: Path) -> None:
        self._outputs = directory / "outputs"
        self._outputs.mkdir()
        programs = directory / "bin"
        programs.mkdir()
        for name in NAMES:
            (programs / name).write_text(PROGRAM.format(outputs=self._outputs))
            (programs / name).chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "SGE_ROOT": str(directory)}
        self.grid = Grid(self.environment)

    def prints(self, command: str, text: str, *, fails: bool = False) -> None:
        """Set what a command line prints."""
        output = self._outputs / command.replace("/", "_")
        output.write_text(text + "\n")
        failed = output.with_name(output.name + ".failed")
        failed.touch() if fails else failed.unlink(missing_ok=True)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site whose commands all fail."""
    return Site(tmp_path)


def options(**given: Any) -> Options:
    """Resolve the options of a user."""
    return Options.resolve({"name": "tested", **given})
