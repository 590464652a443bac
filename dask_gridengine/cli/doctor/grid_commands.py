"""Runs Grid Engine's commands, for information that DRMAA does not have."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dask_gridengine.batch.commands import run_command
from dask_gridengine.launchers.drmaa.discovery import find_root

COMMANDS = ("qconf", "qselect", "qstat", "qsub")
LISTED = 6  # names in a sentence


class Output(NamedTuple):
    """What a command printed."""

    ok: bool  # whether its exit status was 0
    text: str  # standard output; of a failure also standard error

    @property
    def lines(self) -> list[str]:
        """The lines that are not empty."""
        return [line.strip() for line in self.text.splitlines() if line.strip()]


class Grid:
    """Grid Engine's commands, in PATH or in SGE_ROOT, each for 10 s at most."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        root = find_root(environment)
        self.environment = {**environment, **({"SGE_ROOT": root} if root else {})}
        installed = sorted(Path(root, "bin").glob("*")) if root else []
        self._path = os.pathsep.join(
            [environment.get("PATH", os.defpath), *map(str, installed)]
        )

    def missing(self) -> list[str]:
        """List the commands that are not installed here."""
        return [name for name in COMMANDS if not shutil.which(name, path=self._path)]

    def run(self, name: str, *arguments: str) -> Output:
        """Run a command; its failure is a result, not an exception."""
        program = shutil.which(name, path=self._path) or name
        try:
            return Output(True, run_command([program, *arguments], self.environment))
        except subprocess.CalledProcessError as exc:
            return Output(False, f"{exc.stdout or ''}\n{exc.stderr or ''}".strip())
        except (OSError, subprocess.SubprocessError) as exc:
            return Output(False, str(exc))

    def verify(self, native: str = "") -> Output:
        """Ask whether the grid would take a job with these options; queue nothing."""
        job = ("-b", "y", "/bin/true")
        return self.run("qsub", "-w", "v", *native.split(), *job)


def shortened(names: list[str]) -> str:
    """List a few names and count the others.

    Examples
    --------
    >>> shortened(["a", "b"]), shortened([str(n) for n in range(9)])
    ('a, b', '0, 1, 2, 3, 4, 5 and 3 more')
    """
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
