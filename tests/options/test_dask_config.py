"""The part of Dask's configuration that nodes get."""

from __future__ import annotations

import json
from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_gridengine.dask_config import differing_config


def test_only_what_differs_is_sent() -> None:
    """Nodes have the defaults; what concerns the client stays here."""
    with dask.config.set(
        {
            "distributed.worker.memory.target": 0.123,
            "distributed.worker.memory.spill": dask.config.get(
                "distributed.worker.memory.spill"
            ),
            "array.chunk-size": "1 MiB",
            "gridengine.queue": "long.q",
            "scheduler": "dask.distributed",
            "scheduler-address": "tcp://nowhere:1",
        }
    ):
        assert differing_config() == {
            "distributed": {"worker": {"memory": {"target": 0.123}}},
            "array": {"chunk-size": "1 MiB"},
        }


@pytest.mark.parametrize(
    "value",
    [print, {1, 2}, (1, 2), np.arange(3), float("inf"), {1: 2}, [object()], b"x"],
)
def test_a_value_that_json_cannot_represent_stays_here(value: object) -> None:
    """The other values beside it are sent."""
    with dask.config.set({"site": {"odd": value, "plain": [1, None, "x"]}}):
        assert differing_config() == {"site": {"plain": [1, None, "x"]}}


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda key: "." not in key),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=3) | st.integers(), inner)
            ),
            max_leaves=8,
        ),
        max_size=3,
    )
)
@settings(max_examples=50, deadline=None)
def test_what_is_sent_arrives_unchanged(site: dict[str, Any]) -> None:
    """JSON changes none of it."""
    with dask.config.set({"site-of-ours": site}):
        sent = differing_config()
    assert json.loads(json.dumps(sent, allow_nan=False)) == sent
