"""The demo's parts, against the whole file."""

from __future__ import annotations

import pandas as pd
import pytest

from dask_gridengine.cli.demo import PARTS, ROWS, find_data, latest_flight, read_part

COLUMNS = ["carrier", "flight", "dest", "dep_delay"]


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return pd.read_csv(find_data() / "flights.csv.zip", usecols=COLUMNS)


def test_the_parts_are_the_whole(flights: pd.DataFrame) -> None:
    """Every row is in exactly one part."""
    path = str(find_data() / "flights.csv.zip")
    parts = [read_part(part, path, COLUMNS) for part in range(PARTS)]
    joined = pd.concat(parts, ignore_index=True)
    assert len(joined) == ROWS
    pd.testing.assert_frame_equal(joined, flights)


def test_the_latest_flight_of_a_part(flights: pd.DataFrame) -> None:
    """pandas finds the same flight in the same rows."""
    found = latest_flight(0, str(find_data() / "flights.csv.zip"))
    longest = flights.dep_delay[: -(-ROWS // PARTS)].max()
    assert found["hours late"] == round(longest / 60, 1)
