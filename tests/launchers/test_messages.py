"""The messages between a launcher and its child."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.launchers.messages import (
    decode,
    decode_request,
    encode,
    encode_request,
    from_ranges,
    to_ranges,
)


@given(
    st.sets(st.builds(NodeId, st.sampled_from(["1", "22", "333"]), st.integers(1, 40)))
)
def test_ranges_hold_exactly_their_nodes(nodes: set[NodeId]) -> None:
    """Whatever the gaps; and two ranges of one job never touch."""
    ranges = to_ranges(nodes)
    assert sorted(from_ranges(ranges)) == sorted(nodes)
    for runs in ranges.values():
        assert all(first > last + 1 for (_, last), (first, _) in pairwise(runs))


@pytest.mark.parametrize("jobs", [["8", "9", "10"], ["9.1", "10.1", "11.1"]])
def test_ranges_keep_the_order_of_jobs(jobs: list[str]) -> None:
    """Where each node is a job, its number is its place in that order."""
    nodes = [NodeId(job, 1) for job in jobs]
    sent = decode(encode("reply", nodes=to_ranges(nodes)))
    assert from_ranges(sent["nodes"]) == nodes


@given(
    st.builds(
        NodeRequest,
        name=st.text(),
        command=st.lists(st.text(), min_size=1).map(tuple),
        environment=st.dictionaries(st.text(), st.text()),
        native=st.text(),
        slots=st.integers(1, 99),
        walltime=st.none() | st.floats(1, 1e6),
    )
)
def test_a_request_arrives_as_it_was_sent(request_: NodeRequest) -> None:
    """Also with newlines and quotes in it: a message is always one line."""
    line = encode("submit", request=encode_request(request_))
    assert line.count(b"\n") == 1
    assert decode_request(decode(line)["request"]) == request_


@pytest.mark.parametrize(
    "line", [b"", b"error: commlib", b"[1]", b"{}", b'{"kind": 1}']
)
def test_an_invalid_message_is_an_error(line: bytes) -> None:
    """Output of a library is not taken for a message."""
    with pytest.raises(ValueError, match=r"Expecting value|not a message"):
        decode(line)
