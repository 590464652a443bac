"""What a node tells is checked before it is believed."""

from __future__ import annotations

import pytest

from dask_gridengine.doctor.node_report import NodeReport


def test_there_and_back() -> None:
    """What is written is read."""
    report = NodeReport(job="7", index=2, tried={"a:1": "connected"}, tls=0.1)
    assert NodeReport.parse(report.text()) == report


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"index": "x"}', '{"tried": {"a": 1}}', '{"tls": true}'],
)
def test_what_is_none(text: str) -> None:
    """Half a file, or values of another type, are no report."""
    assert NodeReport.parse(text) is None


def test_a_later_version_may_tell_more() -> None:
    """What is not known is passed over."""
    report = NodeReport.parse('{"job": "7", "colour": "red"}')
    assert report is not None
    assert report.job == "7"
