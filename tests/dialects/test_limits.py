"""Walltimes in submit options."""

from __future__ import annotations

import pytest

from dask_gridengine.dialects.gridengine.limits import requested_limit, shortest


@pytest.mark.parametrize(
    ("native", "seconds"),
    [
        ("", None),
        ("-q long.q -l gpu=1", None),
        ("-l h_rt=3600", 3600.0),
        ("-l h_rt=1:0:0,gpu=1 -l s_rt=0:50:00", 3000.0),
        ("-l s_rt=90", 90.0),
        ("-soft -l h_rt=60 -hard -l h_rt=120", 120.0),
        ("-l h_rt=INFINITY", None),
    ],
)
def test_the_request_is_read(native: str, seconds: float | None) -> None:
    """The shorter of h_rt and s_rt, in any form; soft requests bind nobody."""
    assert requested_limit(native) == seconds


def test_the_endless_is_no_limit() -> None:
    """INFINITY and NONE are Grid Engine's words for there being none."""
    assert shortest(["INFINITY", "NONE", "UNDEFINED", ""]) is None
