"""A ``drmaa`` package in place of the real one: a grid that refuses every array."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

DRMAA = """
import ctypes, sys

class DrmaaException(Exception): pass
class DrmCommunicationException(DrmaaException): pass
class DeniedByDrmException(DrmaaException): pass
class TryLaterException(DrmaaException): pass
class AuthorizationException(DrmaaException): pass
class InvalidAttributeFormatException(DrmaaException): pass
class InvalidAttributeValueException(DrmaaException): pass
class InvalidArgumentException(DrmaaException): pass
class InvalidJobException(DrmaaException): pass
class ExitTimeoutException(DrmaaException): pass

class drmaa_attr_values_t(ctypes.Structure): pass
class JobTemplate: pass
class JobControlAction: TERMINATE = "terminate"

def drmaa_wait(*_): raise ExitTimeoutException()
def c(function, *arguments): return function(*arguments)

class Session:
    JOB_IDS_SESSION_ANY, drmsInfo, contact = "", "SGE 8.1.9", "session=refusing"
    def initialize(self, contact): pass
    def exit(self): pass
    def control(self, job, action): pass
    def createJobTemplate(self): return JobTemplate()
    def deleteJobTemplate(self, template): pass
    def runBulkJobs(self, *_):
        raise DeniedByDrmException('code 17: denied: unknown queue "nowhere"')

errors = wrappers = helpers = sys.modules[__name__]
"""


def refusing_grid(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``launcher="drmaa"`` find that package for the rest of the test."""
    place = directory / "refusing"
    place.mkdir()
    (place / "drmaa.py").write_text(DRMAA)
    (place / "libdrmaa.so").touch()
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("DRMAA_LIBRARY_PATH", str(place / "libdrmaa.so"))
    monkeypatch.delenv("SGE_ROOT", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))  # no qstat
