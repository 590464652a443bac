"""Colours that everybody can tell apart."""

from __future__ import annotations

import itertools

import pytest

from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.views.colors import COLOURS, ENDED, FAILED, MEANING, STATES

#: Linear sRGB as it looks without one kind of cone: Machado, Oliveira and Fernandes,
#: "A Physiologically-based Model for Simulation of Color Vision Deficiency", 2009,
#: severity 1.0.
BLINDNESS = {
    "none": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
}


def lab(colour: str, kind: str) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of a colour as somebody sees it."""
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    seen = [
        min(1.0, max(0.0, sum(m * c for m, c in zip(row, linear, strict=True))))
        for row in BLINDNESS[kind]
    ]
    r, g, b = seen
    x = (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505
    y = 0.2126 * r + 0.7152 * g + 0.0722 * b
    z = (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089
    fx, fy, fz = (
        t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("kind", BLINDNESS)
def test_no_two_look_alike(kind: str) -> None:
    """A just noticeable difference is about 2; side by side it is to be ten times."""
    for one, other in itertools.combinations([*COLOURS.values(), ENDED, FAILED], 2):
        pairs = zip(lab(one, kind), lab(other, kind), strict=True)
        assert sum((p - q) ** 2 for p, q in pairs) ** 0.5 > 10, (one, other)


def test_every_state_has_its_colour() -> None:
    """A new state cannot be forgotten here."""
    assert {*STATES, "gone"} == {state.value for state in NodeState}
    assert MEANING.keys() == COLOURS.keys()
