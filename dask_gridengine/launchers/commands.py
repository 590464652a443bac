"""Run a batch system's commands, for what DRMAA cannot do."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

TIMEOUT = 10.0  # seconds


def run_command(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what a command prints, in English.

    Raises `OSError` if there is no such command, `subprocess.SubprocessError` if it
    fails or takes longer than 10 s.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
        text=True,
        errors="replace",
        env={**environment, "LC_ALL": "C"},
    ).stdout
