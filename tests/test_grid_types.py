"""Node ids and end notices as text."""

from __future__ import annotations

import signal

import pytest

from dask_gridengine.grid_types import EndNotice, NodeId, signal_name

NODE = NodeId("3", 17)


def test_a_node_is_written_as_grid_engine_writes_it() -> None:
    """It can be pasted after qstat -j."""
    assert str(NODE) == "3.17"


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (EndNotice(node=NODE, exit_status=3), "exit status 3"),
        (EndNotice(node=NODE, signal="SIGKILL"), "killed by SIGKILL"),
        (EndNotice(node=NODE, signal="SIGKILL", cancelled=True), "cancelled"),
        (EndNotice(node=NODE), "ended, exit status unknown"),
        (EndNotice(node=NODE, exit_status=1, reason="late"), "exit status 1 (late)"),
        (EndNotice(node=NODE, exit_status=1, ran=0.0), "exit status 1 after 0.0 s"),
        (EndNotice(node=NODE, deleted=True, ran=3600.4), "deleted after 3600 s"),
        (EndNotice(node=NODE, unstarted=True, ran=0.0), "could not be started"),
        (
            EndNotice(
                node=NODE,
                signal="SIGKILL",
                ran=9.0,
                peak_memory=9_000_000,
                address_space=2_500_000_000,
            ),
            "killed by SIGKILL after 9.0 s, peak memory 9.0 MB, address space 2.5 GB",
        ),
    ],
)
def test_an_end_notice_as_text(end: EndNotice, text: str) -> None:
    """One clause, with the grid's text behind it."""
    assert str(end) == text


def test_every_signal_has_a_name() -> None:
    """Also real-time signals, which Python does not name."""
    assert signal_name(signal.SIGSEGV) == "SIGSEGV"
    assert signal_name(63) == "signal 63"
