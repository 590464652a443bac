"""How a session child is started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])

# Not ``-m``: that would put the working directory first on the path, and a user's
# ``queue.py`` there would break the child. The package comes from where ours came.
_BOOT = """\
import sys
sys.path = [place for place in sys.path if place] + [{root!r}]
from {module} import main
main()
"""


def program(module: str) -> list[str]:
    """The command that runs the function ``main`` of a module of ours."""
    return [sys.executable, "-c", _BOOT.format(root=PACKAGE_ROOT, module=module)]


def start_child(
    module: str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a session child with pipes to its standard streams.

    Parameters
    ----------
    module
        Its program; has a function ``main``.
    environment
        Its whole environment; ours if None.
    """
    return subprocess.Popen(
        [*program(module), "--parent", str(os.getpid()), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C in the notebook is not for it
    )
