"""Colours of node states in all views.

From the palette of Okabe and Ito ("Color Universal Design", 2008), which people with
the common kinds of colour blindness can tell apart. States that follow each other also
differ in lightness, for prints in grey.
"""

from __future__ import annotations

COLOURS = {
    "queued": "#c4c4c4",
    "arrived": "#56b4e9",
    "importing": "#e69f00",
    "working": "#009e73",
    "suspended": "#f0e442",
    "draining": "#cc79a7",
}
#: Of nodes that ended, with and without a failure.
FAILED, ENDED = "#d55e00", "#4d4d4d"

#: Live states, in the order in which a node passes through them.
STATES = tuple(COLOURS)


def swatch(colour: str) -> str:
    """Return HTML of a small square."""
    return (
        '<span style="display:inline-block;width:.8em;height:.8em;margin-right:.5em;'
        f'background:{colour}"></span>'
    )
