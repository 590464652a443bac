"""What a launcher and its session child say to each other: one JSON object a line.

Every message has a ``kind``. Requests carry an ``id``, which their reply repeats.

=========  ==========================================================================
to child   ``submit`` (request, count), ``cancel`` (nodes), ``adopt`` (nodes,
           cancelled), ``delete_unacknowledged`` (name and submission_id of a submission
           without answer), ``ask`` (silent nodes), ``close`` (timeout, in seconds)
from it    ``ready`` (system, contact) or ``failed`` (text) first; then ``reply``
           (id and what was asked for, or error and text), ``end`` (nodes and the
           fields of `EndNotice`), ``note`` (text, for the log)
errors     ``refused``, ``communication``, ``internal``
=========  ==========================================================================

Nodes travel as ranges: ten thousand nodes of one array are ``{"3": [[1, 10000]]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dask_gridengine.grid_types import NodeId, NodeRequest

Ranges = dict[str, list[list[int]]]
Message = dict[str, Any]

REFUSED = "refused"  # the grid said no; nothing was queued
COMMUNICATION = "communication"  # the grid did not answer
INTERNAL = "internal"  # anything else; the text says what


def encode(kind: str, **fields: object) -> bytes:
    """One message as one line."""
    return json.dumps({"kind": kind, **fields}).encode() + b"\n"


def decode(line: bytes | bytearray) -> Message:
    """Take one line apart.

    Raises
    ------
    ValueError
        If it is not a JSON object with a kind.
    """
    message = json.loads(line)
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError(f"no message: {bytes(line[:200])!r}")
    return message


def pack(nodes: Iterable[NodeId]) -> Ranges:
    """Nodes as first and last index of each unbroken run, by job.

    Examples
    --------
    >>> pack([NodeId("3", 1), NodeId("3", 2), NodeId("3", 9), NodeId("4", 1)])
    {'3': [[1, 2], [9, 9]], '4': [[1, 1]]}
    """
    ranges: Ranges = {}
    for job, index in sorted(set(nodes)):
        runs = ranges.setdefault(job, [])
        if runs and runs[-1][1] == index - 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ranges


def unpack(ranges: Mapping[str, Iterable[Iterable[int]]]) -> list[NodeId]:
    """The nodes `pack` was given, in order.

    Examples
    --------
    >>> [str(node) for node in unpack({"3": [[1, 2], [9, 9]]})]
    ['3.1', '3.2', '3.9']
    """
    return [
        NodeId(job, index)
        for job, runs in ranges.items()
        for first, last in runs
        for index in range(first, last + 1)
    ]


def pack_request(request: NodeRequest) -> Message:
    """A request as the fields of a message."""
    return {**vars(request), "environment": dict(request.environment)}


def unpack_request(fields: Message) -> NodeRequest:
    """The request `pack_request` was given."""
    return NodeRequest(**{**fields, "command": tuple(fields["command"])})
