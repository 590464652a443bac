"""Colours of node states in all views.

From the palette of Okabe and Ito ("Color Universal Design", 2008), which people with
the common kinds of colour blindness can tell apart. States that follow each other also
differ in lightness, for prints in grey.
"""

from __future__ import annotations

from dask_gridengine.nodes.history import JobRow

COLOURS = {
    "queued": "#c4c4c4",
    "arrived": "#56b4e9",
    "importing": "#e69f00",
    "working": "#009e73",
    "suspended": "#f0e442",
    "draining": "#cc79a7",
}
#: Of nodes that ended, with and without a failure, and of restarted workers.
FAILED, ENDED, RESTARTED = "#d55e00", "#4d4d4d", "#0072b2"

#: Live states, in the order in which a node passes through them.
STATES = tuple(COLOURS)


def colour_of(row: JobRow) -> str:
    """Return the colour of a node's state, or of its end."""
    return COLOURS.get(row.state.value, FAILED if row.failed else ENDED)
