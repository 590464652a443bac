"""What is made of the hosts' disks, clocks and file servers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dask_gridengine.doctor import conditions
from dask_gridengine.doctor.finding import Status
from dask_gridengine.doctor.outcome import Outcome

ControlReply = Callable[..., Outcome]


def test_imports(told: ControlReply) -> None:
    """Slow is a warning; what fails is quoted, with what to try there."""
    assert conditions.imports([told()]).status is Status.PASS
    assert conditions.imports([told(imported=40.0)]).status is Status.WARN
    found = conditions.imports([told(import_error="ImportError: no numpy")])
    assert found.status is Status.FAIL
    assert "ImportError: no numpy" in found.sentence


def test_scratch(told: ControlReply) -> None:
    """Full, tight and slow are three things."""
    assert conditions.scratch([told()]).status is Status.PASS
    full = told(scratch_error="No space left on device")
    assert conditions.scratch([full]).status is Status.FAIL
    assert "little room" in conditions.scratch([told(scratch_free=10**8)]).sentence
    assert "slow" in conditions.scratch([told(scratch_speed=1e6)]).sentence


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (0.1, Status.PASS),
        (60.0, Status.WARN),
        (-60.0, Status.WARN),
        (-2 * 86400.0, Status.FAIL),  # our certificates are not valid yet there
    ],
)
def test_clocks(told: ControlReply, ahead: float, status: Status) -> None:
    """The worst of all counts."""
    found = conditions.clock([told(1), told(2, ahead=ahead)])
    assert found.status is status
    if status is not Status.PASS:
        assert "node2" in found.sentence


def test_a_clock_known_by_a_file_alone(told: ControlReply) -> None:
    """File servers show late, so a minute is no news."""
    seen = told(ahead=None, clock=1030.0)
    assert conditions.clock([seen]).status is Status.PASS
    seen = told(ahead=None, clock=1600.0)
    assert conditions.clock([seen]).status is Status.WARN


def test_nobody_has_told() -> None:
    """Then nothing is claimed."""
    for look in (conditions.imports, conditions.scratch, conditions.clock):
        assert look([]).status is Status.SKIP
