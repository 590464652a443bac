"""The lines between a launcher and its session."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.grid_types import NodeId, NodeRequest
from dask_gridengine.launchers.protocol import (
    decode,
    encode,
    pack,
    pack_request,
    unpack,
    unpack_request,
)

nodes = st.sets(
    st.builds(NodeId, st.sampled_from(["1", "22", "333"]), st.integers(1, 40))
)


@given(nodes)
def test_ranges_hold_exactly_the_nodes_they_were_made_of(chosen: set[NodeId]) -> None:
    """Packing loses no node and invents none, whatever the gaps."""
    assert unpack(pack(chosen)) == sorted(chosen)


@given(nodes)
def test_ranges_are_as_few_as_can_be(chosen: set[NodeId]) -> None:
    """Two ranges of one job never touch."""
    for runs in pack(chosen).values():
        for (_, last), (first, _) in pairwise(runs):
            assert first > last + 1


def test_ten_thousand_nodes_are_a_short_line() -> None:
    """What is said of a whole array does not grow with it."""
    line = encode("cancel", nodes=pack(NodeId("7", i) for i in range(1, 10_001)))
    assert line == b'{"kind": "cancel", "nodes": {"7": [[1, 10000]]}}\n'


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
    line = encode("submit", request=pack_request(request_))
    assert line.count(b"\n") == 1
    assert unpack_request(decode(line)["request"]) == request_


@pytest.mark.parametrize(
    "line", [b"", b"error: commlib", b"[1]", b"{}", b'{"kind": 1}']
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    """A library that prints into the pipe is not taken for a message."""
    with pytest.raises(ValueError, match=r"Expecting value|no message"):
        decode(line)
