"""Identify a process, and find out whether it has ended."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from dask_gridengine.process_identity import ProcessIdentity
from tests.clusters import ended_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


def test_a_process_that_runs_has_not_ended() -> None:
    """Neither this one nor a child."""
    assert not ProcessIdentity.of().has_ended()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert not ProcessIdentity.of(child.pid).has_ended()
        child.communicate()


def test_a_process_that_has_ended_is_known_to() -> None:
    """Whether it is a zombie, its id is free, or another process has its id."""
    assert ended_process().has_ended()
    ours = ProcessIdentity.of()
    assert replace(ours, started=ours.started - 1).has_ended()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    zombie = ProcessIdentity.of(child.pid)
    child.stdin.close()  # type: ignore[union-attr]
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert zombie.has_ended()
    child.wait()


@pytest.mark.parametrize(
    "unknown", [{"boot": "another"}, {"namespace": "pid:[1]"}, {"pid": 0}, {"boot": ""}]
)
def test_an_unknown_process_is_not_proved_to_have_ended(
    unknown: dict[str, Any],
) -> None:
    """Another boot or PID namespace, or an unknown identity."""
    assert not replace(ended_process(), **unknown).has_ended()
