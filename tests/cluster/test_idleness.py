"""Who has had nothing to do, and for how long."""

from __future__ import annotations

from dask_gridengine.cluster.idleness import Idleness


def test_idle_is_who_was_idle_whenever_somebody_looked() -> None:
    """A task in between begins the time anew; who is gone is forgotten."""
    idleness = Idleness()
    idleness.look(["a", "b", "c"], 0.0)
    assert idleness.longer_than(0.0, 0.0) == {"a", "b", "c"}
    idleness.look(["a", "b"], 5.0)
    idleness.look(["a", "b", "c"], 8.0)
    assert idleness.longer_than(10.0, 9.9) == set()
    assert idleness.longer_than(10.0, 10.0) == {"a", "b"}
    assert idleness.longer_than(10.0, 18.0) == {"a", "b", "c"}
    idleness.look([], 20.0)
    assert idleness.longer_than(0.0, 99.0) == set()
