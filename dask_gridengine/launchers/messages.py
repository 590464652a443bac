"""The messages between a launcher and its child process: one JSON object a line.

Every message has a ``kind``. A request has an ``id``, which its reply repeats. The
child's first message is a reply with id 0: that it is ready, or an error.

==========  ========================================================================
to child    ``submit`` (request, count), ``cancel`` (nodes), ``recheck`` (nodes),
            ``take_over`` (nodes, cancelled), ``delete_unacknowledged`` (name,
            submission_id), ``close`` (timeout in seconds)
from child  ``reply`` (id and results, or error and text), ``end`` (nodes and the other
            fields of `EndNotice`), ``note`` (text, for the log)
errors      ``rejected``, ``unreachable``, ``internal``
==========  ========================================================================

Nodes are sent as ranges: ten thousand nodes of one array are ``{"3": [[1, 10000]]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dask_gridengine.grid_types import NodeId, NodeRequest

NodeRanges = dict[str, list[list[int]]]
Message = dict[str, Any]

READY = 0  # id of the reply that the child sends first

REJECTED = "rejected"  # by the grid; nothing was queued
UNREACHABLE = "unreachable"  # the grid does not answer
INTERNAL = "internal"  # any other error; see the text


def encode(kind: str, **fields: object) -> bytes:
    """Encode one message as one line."""
    return json.dumps({"kind": kind, **fields}).encode() + b"\n"


def decode(line: bytes | bytearray) -> Message:
    """Decode one line; raise `ValueError` if it is not a JSON object with a kind."""
    message = json.loads(line)
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError(f"not a message: {bytes(line[:200])!r}")
    return message


def to_ranges(nodes: Iterable[NodeId]) -> NodeRanges:
    """Return the first and last index of each unbroken run of nodes, by job.

    Examples
    --------
    >>> to_ranges([NodeId("3", 1), NodeId("3", 2), NodeId("3", 9), NodeId("4", 1)])
    {'3': [[1, 2], [9, 9]], '4': [[1, 1]]}
    """
    ranges: NodeRanges = {}
    # Jobs stay in their order: nodes of jobs of one each have their numbers by it.
    for job, index in sorted(dict.fromkeys(nodes), key=lambda node: node.index):
        runs = ranges.setdefault(job, [])
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ranges


def from_ranges(ranges: Mapping[str, Iterable[Iterable[int]]]) -> list[NodeId]:
    """Return the nodes that `to_ranges` was given, in order."""
    return [
        NodeId(job, index)
        for job, runs in ranges.items()
        for first, last in runs
        for index in range(first, last + 1)
    ]


def encode_request(request: NodeRequest) -> Message:
    """Return a node request as the fields of a message."""
    return {**vars(request), "environment": dict(request.environment)}


def decode_request(fields: Message) -> NodeRequest:
    """Return the node request that `encode_request` was given."""
    return NodeRequest(**{**fields, "command": tuple(fields["command"])})
