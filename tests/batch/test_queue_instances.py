"""Queue instances and what is the matter with them."""

from __future__ import annotations

from dask_gridengine.batch.sge.queue_instances import parse_instances

SHOWN = """\
queuename                      qtype resv/used/tot. load_avg arch          states
---------------------------------------------------------------------------------
a.q@node1                      BIP   0/3/8          0.11     lx-amd64      D
      7 0.50000 sleep      root         r     11/30/2026 13:02:04     1 1
---------------------------------------------------------------------------------
a.q@node2                      BIP   2/1/8          0.11     lx-amd64
"""


def test_instances_with_their_slots_and_states() -> None:
    """Jobs below an instance are none; reserved slots are used."""
    first, second = parse_instances(SHOWN)
    assert (first.queue, first.host, first.trouble) == (
        "a.q",
        "node1",
        "closed by a calendar",
    )
    assert (second.slots, second.used, second.trouble) == (8, 3, "")
