"""Parallel environments: only one host's slots are of use to a node."""

from __future__ import annotations

from dask_gridengine.doctor.environments import environments
from dask_gridengine.doctor.finding import Finding, Status
from tests.doctor.conftest import Site, options, run


def offers(site: Site, **rules: str) -> None:
    """Environments by name, each with its allocation rule."""
    site.says("qconf -spl", "\n".join(rules))
    site.says("qselect -U ada", "a.q@node1")
    for name, rule in rules.items():
        site.says(f"qconf -sp {name}", f"pe_name {name}\nallocation_rule {rule}")
        site.says(f"qselect -U ada -pe {name}", "a.q@node1")


def look(site: Site, **given: object) -> Finding:
    return run(environments(site.commands, options(**given), "ada"))


def test_the_likeliest_of_those_that_fit_is_proposed(site: Site) -> None:
    """For cores above 1 only, so it is a comment in the profile."""
    offers(site, mpi="$fill_up", amber="$pe_slots", smp="$pe_slots", eight="8")
    finding = look(site)
    assert finding.status is Status.PASS
    assert finding.sentence.startswith("smp, amber:")
    (setting,) = finding.settings
    assert (setting.key, setting.value, setting.optional) == (
        "parallel-environment",
        "smp",
        True,
    )


def test_cores_without_one(site: Site) -> None:
    """The option to type, with a name that will do."""
    offers(site, smp="$pe_slots")
    finding = look(site, cores=4)
    assert finding.status is Status.FAIL
    assert "--parallel-environment smp" in finding.advice


def test_one_that_spreads(site: Site) -> None:
    """A node's worker is on one host."""
    offers(site, mpi="$round_robin")
    finding = look(site, cores=4, parallel_environment="mpi")
    assert finding.status is Status.FAIL
    assert "allocation_rule $round_robin" in finding.sentence
    assert look(site).status is Status.WARN


def test_one_that_is_not_there(site: Site) -> None:
    """Those there are."""
    offers(site, smp="$pe_slots")
    finding = look(site, parallel_environment="shm")
    assert finding.status is Status.FAIL
    assert "smp" in finding.advice
    assert look(site, parallel_environment="smp").status is Status.PASS


def test_one_of_queues_that_are_not_ours(site: Site) -> None:
    """It is not proposed, and without any queue nothing is said of it."""
    offers(site, smp="$pe_slots")
    site.says("qselect -U ada -pe smp", "no queues remaining", fails=True)
    assert look(site).status is Status.WARN
    site.says("qselect -U ada", "no queues remaining", fails=True)
    assert look(site).sentence == "because of: queues"
