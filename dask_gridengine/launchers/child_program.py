"""The program of a launcher's child process, and how it is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dask_gridengine.launchers.messages import Message

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])

# Not ``-m``: it puts the working directory first on the path, and a user's ``queue.py``
# there would break the child. The child imports this package from where we did.
_SCRIPT = """\
import sys
sys.path = [path for path in sys.path if path] + [{root!r}]
from {module} import main
main()
"""


def _do_nothing(ready: Message) -> None:
    """The default of `ChildProgram.remove_remains`."""


@dataclass(frozen=True, kw_only=True)
class ChildProgram:
    """What a launcher's child process runs, and how long to wait for it."""

    kind: str  # the launcher's name, "drmaa" or "process"
    module: str  # has a function ``main``
    advice: str  # what to type when it does not start and does not say why
    arguments: tuple[str, ...] = ()
    cleanup: Path | None = None  # a directory that the child removes if we die
    environment: Mapping[str, str] | None = None  # the whole environment; ours if None
    #: Whether nodes outlive the child. Then a new child takes them over.
    nodes_survive: bool = False
    #: Called with the child's first message after the child and its nodes have died.
    remove_remains: Callable[[Message], None] = _do_nothing
    start_timeout: float = 30.0  # seconds
    reply_timeout: float = 60.0  # seconds
    restart_delays: tuple[float, ...] = (0.0, 0.5, 2.0, 10.0, 30.0)  # seconds

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the child with pipes to its standard streams."""
        script = _SCRIPT.format(root=PACKAGE_ROOT, module=self.module)
        command = [sys.executable, "-c", script, "--parent", str(os.getpid())]
        if self.cleanup is not None:
            command += ["--cleanup", str(self.cleanup.absolute())]
        return subprocess.Popen(
            [*command, *self.arguments, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,  # Ctrl-C in the user's terminal does not reach it
        )
