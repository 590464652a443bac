"""Grid Engine's own commands, which say what DRMAA has nothing like."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dask_gridengine.blocking import in_thread
from dask_gridengine.launchers.commands import TIMEOUT, run_command
from dask_gridengine.launchers.drmaa.discovery import find_root


@dataclass(frozen=True)
class CommandResult:
    """What a command said, and whether it went well."""

    text: str  # its standard output, and behind it its standard error if it failed
    ok: bool
    hung: bool = False  # it was ended, for it said nothing
    missing: bool = False  # there is no such command here

    @property
    def lines(self) -> list[str]:
        """What it said, without empty lines."""
        return [line.strip() for line in self.text.splitlines() if line.strip()]


class Commands:
    """Runs ``qconf`` and its like; each ends within 10 s.

    Parameters
    ----------
    environment
        ``SGE_ROOT`` and its like.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        root = find_root(environment)
        self._environment = {**environment, **({"SGE_ROOT": root} if root else {})}
        self._path = os.pathsep.join(
            [environment.get("PATH", os.defpath), *_directories(root)]
        )

    async def run(self, *command: str) -> CommandResult:
        """Run one; never raises for what it does."""
        return await in_thread(self._run, *command)

    def _run(self, name: str, *arguments: str) -> CommandResult:
        found = shutil.which(name, path=self._path)
        if found is None:
            return CommandResult(f"there is no {name} on PATH", ok=False, missing=True)
        try:
            said = run_command([found, *arguments], self._environment)
        except subprocess.TimeoutExpired:
            text = f"{name} said nothing for {TIMEOUT:g} s"
            return CommandResult(text, ok=False, hung=True)
        except subprocess.CalledProcessError as exc:
            return CommandResult(
                f"{exc.stdout or ''}\n{exc.stderr or ''}".strip(), ok=False
            )
        except OSError as exc:
            return CommandResult(str(exc), ok=False, missing=True)
        return CommandResult(said, ok=True)


def _directories(root: str | None) -> list[str]:
    """Where an installation has its commands, should PATH not say so."""
    if not root:
        return []
    return sorted(str(place) for place in Path(root, "bin").glob("*") if place.is_dir())


def table(text: str) -> dict[str, str]:
    r"""Lines of name and value, as ``qconf -sq`` prints them.

    Examples
    --------
    >>> table("qname  all.q\nhostlist a b \\\n   c\n# comment")
    {'qname': 'all.q', 'hostlist': 'a b c'}
    """
    found = {}
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            found[name] = " ".join(value.split())
    return found
