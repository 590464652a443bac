"""``kill``: what is forgotten ends, what lives only by its name."""

from __future__ import annotations

from pathlib import Path

from distributed.core import Status

from tests.clusters import left_behind, running, typed
from tests.waiting import wait_until


def test_forgotten_ones_end_when_the_user_says_yes(shared: Path) -> None:
    """They are listed first; without a yes nothing is done."""
    lost = left_behind(shared)
    where = ("--shared-directory", str(shared))
    ended = typed("kill", *where, answer="n\n")
    assert ended.exit_code == 1
    assert "lost" in ended.output
    assert lost.exists()
    ended = typed("kill", *where, answer="y\n")
    assert ended.exit_code == 0
    assert f"removed {lost}" in ended.output
    assert not lost.exists()
    assert "nothing to end" in typed("kill", *where).output


def test_one_that_lives_ends_by_its_name_alone(shared: Path) -> None:
    """Through its manager, so that what runs may finish."""
    where = ("--shared-directory", str(shared))
    with running(shared, jobs=1) as cluster:
        cluster.wait_for_workers(1)
        spared = typed("kill", "--yes", *where)
        assert "mine is alive" in spared.output
        ended = typed("kill", "mine", "--yes", *where)
        assert ended.exit_code == 0, ended.output
        assert "mine: closed" in ended.output
        wait_until(lambda: cluster.status is Status.closed, "closed")


def test_a_name_that_is_nobodys(shared: Path) -> None:
    """It is said whose there are."""
    ended = typed("kill", "x", "--yes", "--shared-directory", str(shared))
    assert ended.exit_code == 1
    assert "no cluster 'x'; there are: none" in ended.output
