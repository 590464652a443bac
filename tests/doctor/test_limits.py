"""Limits: told, and warned of where a cluster would meet them."""

from __future__ import annotations

from dask_gridengine.doctor.finding import Finding, Status
from dask_gridengine.doctor.limits import limits
from tests.doctor.conftest import Site, options, run


def look(
    site: Site, end: str = "INFINITY", counts: str = "", **given: object
) -> Finding:
    site.says("qconf -sconf", f"max_u_jobs 0\n{counts}")
    site.says("qconf -ssconf", "maxujobs 0")
    site.says("qquota -u ada", "")
    site.says("qselect -U ada", "a.q@node1\na.q@node2")
    site.says("qconf -sq a.q", f"qname a.q\nh_rt {end}")
    return run(limits(site.commands, options(**given), "ada"))


def test_a_site_without_limits(site: Site) -> None:
    """A number of 0 is none."""
    finding = look(site)
    assert finding.status is Status.PASS
    assert "no number of jobs is limited" in finding.sentence
    assert "no queue has a limit" in finding.sentence


def test_limits_are_told(site: Site) -> None:
    """In words, with their numbers."""
    finding = look(site, "24:00:00", "max_aj_tasks 75000")
    assert "75000 nodes in one array" in finding.sentence
    assert "a.q: 86400 s" in finding.sentence


def test_a_walltime_that_no_queue_has(site: Site) -> None:
    """Such jobs would wait for ever."""
    finding = look(site, "1:00:00", walltime="2h")
    assert finding.status is Status.WARN
    assert "wait for ever" in finding.sentence
    assert finding.advice == "walltime: 3600"
    assert look(site, "1:00:00", walltime="1h").status is Status.PASS
    assert look(site, "INFINITY", walltime="1h").status is Status.PASS


def test_more_nodes_than_may_run(site: Site) -> None:
    """The others would wait."""
    finding = look(site, counts="max_aj_instances 50", max_jobs=100)
    assert finding.status is Status.WARN
    assert "lets 50 run" in finding.sentence


def test_a_site_that_does_not_tell(site: Site) -> None:
    """It is not looked at, and that is said."""
    assert run(limits(site.commands, options(), "ada")).status is Status.SKIP
