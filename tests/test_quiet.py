"""Dask's logs are silent while any cluster wants them so."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest

from dask_gridengine.quiet import silenced


@pytest.fixture
def handler() -> Iterator[logging.Handler]:
    """One more of Dask's handlers."""
    made = logging.StreamHandler()
    made.setLevel(logging.DEBUG)
    logging.getLogger("distributed").addHandler(made)
    yield made
    logging.getLogger("distributed").removeHandler(made)


def test_the_level_is_given_back(handler: logging.Handler) -> None:
    """A name or a number; afterwards it is what it was."""
    with silenced("error"):
        assert handler.level == logging.ERROR
    with silenced(logging.WARNING):
        assert handler.level == logging.WARNING
    assert handler.level == logging.DEBUG


def test_clusters_close_in_any_order(handler: logging.Handler) -> None:
    """The first to close does not let the other's logs through."""
    with contextlib.ExitStack() as second:
        with silenced(logging.CRITICAL):
            second.enter_context(silenced(logging.WARNING))
            assert handler.level == logging.CRITICAL
        assert handler.level == logging.WARNING
    assert handler.level == logging.DEBUG
