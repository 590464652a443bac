"""Colours of states, the same on every picture, and how states are called there.

From the palette of Okabe and Ito ("Color Universal Design", 2008), which people with
any of the common kinds of colour blindness can tell apart. States that follow each
other differ in lightness, too, so that a print in grey says the same.
"""

from __future__ import annotations

from dask_gridengine.nodes.registry import NodeState

#: Of a node while it is in a state.
COLOURS: dict[str, str] = {
    NodeState.QUEUED.value: "#c4c4c4",
    NodeState.ARRIVED.value: "#56b4e9",
    NodeState.IMPORTING.value: "#e69f00",
    NodeState.WORKING.value: "#009e73",
    NodeState.SUSPENDED.value: "#f0e442",
    NodeState.DRAINING.value: "#cc79a7",
}
#: Of an end that is a failure, and of one that is not.
FAILED, ENDED = "#d55e00", "#4d4d4d"

STATES = tuple(COLOURS)

#: A word or two of explanation, for whoever has not read the docs.
MEANING: dict[str, str] = {
    NodeState.QUEUED.value: "queued in the grid",
    NodeState.ARRIVED.value: "arrived, told to wait",
    NodeState.IMPORTING.value: "importing",
    NodeState.WORKING.value: "working",
    NodeState.SUSPENDED.value: "suspended by the grid",
    NodeState.DRAINING.value: "draining",
}
