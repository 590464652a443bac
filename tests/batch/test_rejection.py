"""What to change where Grid Engine has refused an array (D4)."""

from __future__ import annotations

import pytest

from dask_gridengine.batch import batch_system
from tests.batch.commands import Commands, instances, printing

GRID = batch_system("gridengine")


@pytest.mark.parametrize(
    ("reason", "option", "listing"),
    [
        ('job requests unknown queue "nope.q"', "queue", "all.q\nlong.q\n"),
        (
            'the requested parallel environment "x" does not exist',
            "parallel_environment",
            "smp\nmpi\n",
        ),
        ('the requested project "x" does not exist', "project", "one\ntwo\n"),
        ('can\'t resolve hostname "x"', "resource_spec", "node1\nnode2\n"),
    ],
)
def test_the_option_and_its_values_are_named(
    reason: str, option: str, listing: str
) -> None:
    """And no other option."""
    advice = GRID.rejection_advice(reason, "-q nope.q", printing(listing))
    assert advice.startswith(f"{option}: ")
    assert all(name in advice for name in listing.split())


def test_of_many_values_the_nearest_is_named() -> None:
    """A site has a hundred resources."""
    listing = "#name shortcut\n" + "".join(f"res{n} r\n" for n in range(50))
    reason = 'unknown resource "h_vmen"'
    advice = GRID.rejection_advice(reason, "", printing(listing + "h_vmem v MEMORY\n"))
    assert "'h_vmem'" in advice
    assert "qconf -sc" in GRID.rejection_advice(reason, "", printing(listing))


def test_more_slots_than_any_host_has() -> None:
    """The reason of the grid is "no suitable queues"."""
    listing = Commands(qstat=instances(node1="", node2=""))
    reason = "error: no suitable queues"
    assert "cores=8" in GRID.rejection_advice(reason, "-pe smp 24", listing)
    assert not GRID.rejection_advice(reason, "-pe smp 8", listing)
    assert not GRID.rejection_advice(reason, "-l h=a", listing)


def test_without_an_answer_nothing_is_claimed() -> None:
    """The commands may be missing here."""
    assert "qconf -sql" in GRID.rejection_advice("unknown queue", "", Commands())
    assert not GRID.rejection_advice("error: no suitable queues", "-pe x 9", Commands())
