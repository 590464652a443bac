"""The DRMAA launcher's child, where it cannot open a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.launchers.drmaa.discovery import (
    INSTALL_LIBRARY,
    SETTINGS,
    STATIC_TLS_TUNABLE,
)
from dask_gridengine.launchers.drmaa.process import INSTALL_PACKAGE

MODULE = "dask_gridengine.launchers.drmaa.process"
FAKE_DRMAA = """
import os, sys
sys.stderr.write(repr(os.environ.get("GLIBC_TUNABLES")))
class DrmaaException(Exception): pass
class DrmCommunicationException(DrmaaException): pass
errors = sys.modules[__name__]
class Session:
    def initialize(self, contact):
        raise {error}
"""


def run_session(place: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """Run it with a ``drmaa`` package from `place`; return its message and stderr."""
    path = os.pathsep.join([str(place), *sys.path])
    command = [sys.executable, "-m", MODULE, "--parent", str(os.getpid())]
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
        timeout=20,
        check=True,
    )
    (line,) = ran.stdout.splitlines()
    return json.loads(line), ran.stderr.decode()


@pytest.mark.parametrize(
    ("module", "advice", "text"),
    [
        (
            "raise ModuleNotFoundError('No module named drmaa')",
            INSTALL_PACKAGE,
            "No module",
        ),
        ("raise OSError('static TLS block')", INSTALL_LIBRARY, "static TLS block"),
        ("raise RuntimeError('no libdrmaa')", INSTALL_LIBRARY, "no libdrmaa"),
        (
            FAKE_DRMAA.format(error="DrmCommunicationException('code 2: no route')"),
            None,
            "no route",
        ),
        (
            FAKE_DRMAA.format(error="DrmaaException('code 1: set SGE_ROOT')"),
            SETTINGS,
            "set SGE_ROOT",
        ),
    ],
)
def test_the_only_message_has_the_problem_and_advice(
    tmp_path: Path, module: str, advice: str | None, text: str
) -> None:
    """A master that does not answer is left to the parent, which knows its host."""
    (tmp_path / "drmaa.py").write_text(module)
    message, _ = run_session(tmp_path)
    assert message["error"] == "internal"
    assert message.get("advice") == advice
    assert text in message["text"]
    assert "code" not in message["text"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (STATIC_TLS_TUNABLE, None),
        (f"glibc.malloc.check=1:{STATIC_TLS_TUNABLE}", "glibc.malloc.check=1"),
        (
            f"{STATIC_TLS_TUNABLE}:{STATIC_TLS_TUNABLE}",
            STATIC_TLS_TUNABLE,
        ),  # the user has set it as well
    ],
)
def test_the_tunable_for_glibc_does_not_reach_the_jobs(
    tmp_path: Path, before: str, after: str | None
) -> None:
    """Only ours is removed from the environment that ``-V`` copies."""
    (tmp_path / "drmaa.py").write_text(FAKE_DRMAA.format(error="DrmaaException()"))
    _, errors = run_session(tmp_path, GLIBC_TUNABLES=before)
    assert errors == repr(after)
