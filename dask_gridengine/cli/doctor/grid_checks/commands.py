"""Runs Grid Engine's commands, for information that DRMAA does not have."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dask_gridengine.batch.commands import TIMEOUT, run_command
from dask_gridengine.daemon_threads import in_thread
from dask_gridengine.launchers.drmaa.discovery import find_root


@dataclass(frozen=True, kw_only=True)
class CommandResult:
    """What a command printed, and how it ended."""

    text: str  # standard output; of a failure also standard error
    ok: bool = False
    timed_out: bool = False
    missing: bool = False  # not installed here

    @property
    def lines(self) -> list[str]:
        """The lines that are not empty."""
        return [line.strip() for line in self.text.splitlines() if line.strip()]


class GridCommands:
    """Runs ``qconf`` and others, in PATH or in SGE_ROOT, each for 10 s at most."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        root = find_root(environment)
        self._environment = {**environment, **({"SGE_ROOT": root} if root else {})}
        installed = sorted(Path(root, "bin").glob("*")) if root else []
        self._path = os.pathsep.join(
            [environment.get("PATH", os.defpath), *map(str, installed)]
        )

    async def run(self, *command: str) -> CommandResult:
        """Run a command; its failure is a result, not an exception."""
        return await in_thread(self._run, *command)

    async def verify(self, native: str) -> CommandResult:
        """Ask whether the grid would take a job with these options; queue nothing."""
        return await self.run(
            "qsub", "-w", "v", *native.split(), "-b", "y", "/bin/true"
        )

    def _run(self, name: str, *arguments: str) -> CommandResult:
        found = shutil.which(name, path=self._path)
        if found is None:
            return CommandResult(text=f"{name} is not on PATH", missing=True)
        try:
            text = run_command([found, *arguments], self._environment)
        except subprocess.TimeoutExpired:
            text = f"{name} did not end in {TIMEOUT:g} s"
            return CommandResult(text=text, timed_out=True)
        except subprocess.CalledProcessError as exc:
            return CommandResult(text=f"{exc.stdout or ''}\n{exc.stderr or ''}".strip())
        except OSError as exc:
            return CommandResult(text=str(exc), missing=True)
        return CommandResult(text=text, ok=True)


def attributes(text: str) -> dict[str, str]:
    r"""Read lines of name and value, as ``qconf -sq`` prints them.

    Examples
    --------
    >>> attributes("qname  all.q\nhostlist a b \\\n   c\n# comment")
    {'qname': 'all.q', 'hostlist': 'a b c'}
    """
    found = {}
    for line in text.replace("\\\n", " ").splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            found[name] = " ".join(value.split())
    return found
