"""Pieces of HTML."""

from __future__ import annotations

from dask_gridengine.views import html as markup


def test_numbers_stand_right_and_words_left() -> None:
    """The first column and the last are words."""
    line = markup.row("node1", ["4", "8 GiB", "2 working"])
    cells = line.split("<td ")[1:]
    assert ["left" in cell for cell in cells] == [True, False, False, True]
    head = markup.table(("host", "threads", "memory", ""), [line])
    cells = head.split("<th ")[1:]
    assert ["text-align:left" in cell for cell in cells] == [True, False, False, True]
    assert line in head


def test_nothing_is_not_folded() -> None:
    """A title without content would open to nothing."""
    assert markup.folded("hosts", "") == ""
    assert markup.folded("hosts", "x").startswith("<details><summary>hosts<")
    assert markup.folded("pools", "x", open_=True).startswith("<details open>")


def test_a_swatch_has_its_colour() -> None:
    """As on the dashboard."""
    assert "background:#009e73" in markup.swatch("#009e73")
