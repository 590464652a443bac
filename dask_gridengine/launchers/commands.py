"""Running a grid's own commands, for what DRMAA has nothing like."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

TIMEOUT = 10.0  # seconds


def run_command(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A `Runner`, given an environment.

    Raises
    ------
    OSError
        If there is no such command.
    subprocess.SubprocessError
        If it fails, or says nothing for 10 s.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
        text=True,
        errors="replace",
        env={**environment, "LC_ALL": "C"},  # it may speak the user's language
    ).stdout
