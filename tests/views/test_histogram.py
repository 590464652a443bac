"""A histogram of seconds."""

from __future__ import annotations

from dask_gridengine.nodes.startup_times import BUCKETS, DelayHistogram
from dask_gridengine.views.histogram import FEWEST, Histogram


def test_it_shows_what_has_been_counted() -> None:
    """Buckets from the least to the most, with their range; the median above."""
    delays = DelayHistogram()
    histogram = Histogram("time in the queue", delays, "#888888")
    histogram.update()
    assert histogram.source.data["nodes"] == []
    for seconds in (1.5, 1.5, 700.0):
        delays.add(seconds)
    histogram.update()
    data = histogram.source.data
    shown = dict(zip(data["range"], data["nodes"], strict=True))
    assert (shown["1 s to 2 s"], shown["10 min to 20 min"]) == (2, 1)
    assert sum(data["nodes"]) == 3
    assert histogram.figure.title.text == "time in the queue: median 1.5 s"


def test_one_bar_has_room_around_it() -> None:
    """Also at either end of all there may be."""
    for seconds in (0.0, 1e9):
        delays = DelayHistogram()
        delays.add(seconds)
        histogram = Histogram("", delays, "#888888")
        histogram.update()
        x = histogram.source.data["x"]
        assert len(x) >= FEWEST
        assert min(x) >= 0
        assert max(x) < len(BUCKETS)


def test_nothing_is_sent_where_nothing_is_new() -> None:
    """The same data are not set again."""
    delays = DelayHistogram()
    delays.add(1.0)
    histogram = Histogram("", delays, "#888888")
    histogram.update()
    before = histogram.source.data
    histogram.update()
    assert histogram.source.data is before
