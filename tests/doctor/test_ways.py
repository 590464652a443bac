"""What is made of the ways between a node and us."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dask_gridengine.doctor import ways
from dask_gridengine.doctor.finding import Status
from dask_gridengine.doctor.outcome import Outcome
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from dask_gridengine.net.connect_probe import CONNECTED
from tests.doctor.conftest import DOOR, SCHEDULER, make_ended

ControlReply = Callable[..., Outcome]
SILENT = "no answer in 3 s"


def test_all_is_reached(told: ControlReply) -> None:
    """Every address, by everybody."""
    found = ways.addresses([told(1), told(2)], [DOOR], [SCHEDULER])
    assert found.status is Status.PASS
    assert "node1 and node2" in found.sentence


def test_nothing_is_reached() -> None:
    """A node that sees neither us nor the directory has its exit status alone."""
    cut = make_ended(exit_status=EXIT_STATUS[Cause.UNREACHABLE])
    found = ways.addresses([cut], [DOOR], [SCHEDULER])
    assert found.status is Status.FAIL
    assert DOOR in found.sentence


@pytest.mark.parametrize(("shut", "named"), [(DOOR, "bootstrap"), (SCHEDULER, "sched")])
def test_one_port_is_not_reached(told: ControlReply, shut: str, named: str) -> None:
    """It is named with the option that chooses it, and what it answered."""
    tried = {DOOR: CONNECTED, SCHEDULER: CONNECTED, shut: SILENT}
    found = ways.addresses([told(tried=tried)], [DOOR], [SCHEDULER])
    assert found.status is Status.FAIL
    assert named in found.sentence
    assert f"{shut}: {SILENT}" in found.sentence


def test_only_the_second_address_is_reached(told: ControlReply) -> None:
    """That does no harm, and the profile may put it first."""
    other = "10.1.0.1:14711"
    tried = {DOOR: SILENT, other: CONNECTED, SCHEDULER: CONNECTED}
    found = ways.addresses([told(tried=tried)], [DOOR, other], [SCHEDULER])
    assert found.status is Status.PASS
    assert [(s.key, s.value) for s in found.settings] == [("host", "10.1.0.1")]


def test_keys_that_do_not_open(told: ControlReply) -> None:
    """CURVE and TLS each have a line, with what was said."""
    assert ways.curve([told()]).status is Status.PASS
    wrong = told(curve_error="no way to cluster x")
    assert "no way to cluster x" in ways.curve([wrong]).sentence
    wrong = told(tls_error="certificate is not yet valid")
    found = ways.tls([wrong], encrypted=True)
    assert found.evidence == ("certificate is not yet valid",)
    assert ways.tls([told()], encrypted=False).name == "TCP"


def test_a_node_that_we_do_not_reach(told: ControlReply) -> None:
    """It came to us, but work would hang."""
    found = ways.way_back([told(back=SILENT)])
    assert found.status is Status.FAIL
    assert "worker_port" in found.advice
    assert ways.way_back([told()]).status is Status.PASS


def test_nobody_has_told() -> None:
    """Then nothing is claimed."""
    for found in (ways.curve([]), ways.tls([], encrypted=True), ways.way_back([])):
        assert found.status is Status.SKIP
