"""The demo's parts, against the whole file."""

from __future__ import annotations

import pandas as pd

from dask_gridengine.cli.demo import PARTS, find_data, latest_flight, read_part


def test_the_parts_are_the_whole() -> None:
    """Every row is in exactly one part, and the latest flight of a part is correct."""
    path = str(find_data() / "flights.csv.zip")
    columns = ["carrier", "flight", "dest", "dep_delay"]
    parts = [read_part(part, path, columns) for part in range(PARTS)]
    whole = pd.read_csv(path, usecols=columns)
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    longest = round(parts[0].dep_delay.max() / 60, 1)
    assert latest_flight(0, path)["hours late"] == longest
