"""The DRMAA launcher's child, where it does not come as far as a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.launchers.drmaa.discovery import TUNABLE

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
    """Run it with a ``drmaa`` package from `place`; its only words, and its stderr."""
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
    ("module", "lacking", "text"),
    [
        ("raise ModuleNotFoundError('No module named drmaa')", "package", "No module"),
        ("raise OSError('static TLS block')", "library", "static TLS block"),
        ("raise RuntimeError('no libdrmaa')", "library", "no libdrmaa"),
        (
            FAKE_DRMAA.format(error="DrmCommunicationException('code 2: no route')"),
            "master",
            "no route",
        ),
        (
            FAKE_DRMAA.format(error="DrmaaException('code 1: set SGE_ROOT')"),
            "cell",
            "set SGE_ROOT",
        ),
    ],
)
def test_what_is_lacking_is_said(
    tmp_path: Path, module: str, lacking: str, text: str
) -> None:
    """In its first and only message; the parent knows what to advise."""
    (tmp_path / "drmaa.py").write_text(module)
    said, _ = run_session(tmp_path)
    assert said["kind"] == "failed"
    assert said["lacking"] == lacking
    assert text in said["text"]
    assert "code" not in said["text"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (TUNABLE, None),
        (f"glibc.malloc.check=1:{TUNABLE}", "glibc.malloc.check=1"),
        (f"{TUNABLE}:{TUNABLE}", TUNABLE),  # the user has set it as well
    ],
)
def test_what_glibc_was_told_does_not_reach_the_jobs(
    tmp_path: Path, before: str, after: str | None
) -> None:
    """Only ours is taken out of the environment that ``-V`` hands on."""
    (tmp_path / "drmaa.py").write_text(FAKE_DRMAA.format(error="DrmaaException()"))
    _, errors = run_session(tmp_path, GLIBC_TUNABLES=before)
    assert errors == repr(after)
