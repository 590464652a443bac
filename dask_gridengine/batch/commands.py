"""Run a batch system's commands, for what DRMAA cannot do."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Callable, Mapping, Sequence

TIMEOUT = 10.0  # seconds

#: Runs one command of the batch system and returns its output; raises `OSError` or
#: `subprocess.SubprocessError` if it fails.
Runner = Callable[[Sequence[str]], str]


def run_command(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> str:
    """Return what a command prints, in English.

    Raises `OSError` if there is no such command, `subprocess.SubprocessError` if it
    fails or takes longer than 10 s. The environment is ours if it is None.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
        text=True,
        errors="replace",
        env={**(os.environ if environment is None else environment), "LC_ALL": "C"},
    ).stdout


def mentions(exc: subprocess.CalledProcessError, *texts: str) -> bool:
    """Whether a failed command printed one of these lower-case texts.

    Systems of one family differ in capitals, and in where they print a message.
    """
    printed = f"{exc.stdout}{exc.stderr}".lower()
    return any(text in printed for text in texts)


def output_of(command: Sequence[str], run: Runner) -> str | None:
    """Run a command; return None if it is missing, fails or does not answer."""
    try:
        return run(command)
    except (OSError, subprocess.SubprocessError):
        return None


def user_name() -> str:
    """Return the user of this process; the environment may name another one."""
    return pwd.getpwuid(os.getuid()).pw_name
