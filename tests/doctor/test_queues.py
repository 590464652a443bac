"""Queues: which take these jobs, which do not and why."""

from __future__ import annotations

from dask_gridengine.doctor.commands import CommandResult
from dask_gridengine.doctor.finding import Status
from dask_gridengine.doctor.queues import queues
from tests.doctor.conftest import Site, options, run

FOUND = CommandResult("verification: found suitable queue(s)", ok=True)
SHOWN = """\
queuename                      qtype resv/used/tot. load_avg arch          states
---------------------------------------------------------------------------------
a.q@node1                      BIP   0/3/8          0.11     lx-amd64      {one}
---------------------------------------------------------------------------------
a.q@node2                      BIP   0/0/8          0.11     lx-amd64      {two}
---------------------------------------------------------------------------------
secret.q@node3                 BIP   0/0/99         0.11     lx-amd64
"""


def shows(site: Site, one: str = "", two: str = "") -> None:
    site.says("qselect -U ada", "a.q@node1\na.q@node2")
    site.says("qstat -f", SHOWN.format(one=one, two=two))


def test_queues_that_take_jobs(site: Site) -> None:
    """Their hosts and free slots; those of others are not counted."""
    shows(site)
    finding = run(queues(site.commands, options(), FOUND, "ada"))
    assert finding.status is Status.PASS
    assert finding.sentence == "a.q: 2 hosts, 13 of 16 slots free"


def test_some_hosts_take_none(site: Site) -> None:
    """A warning with each and its state in words."""
    shows(site, two="au")
    finding = run(queues(site.commands, options(), FOUND, "ada"))
    assert finding.status is Status.WARN
    assert "1 host, 5 of 8 slots free" in finding.sentence
    (evidence,) = finding.evidence
    assert evidence == "a.q@node2 is overloaded, not reachable for the qmaster"


def test_no_host_takes_any(site: Site) -> None:
    """They will wait: a warning, for that may pass."""
    shows(site, one="d", two="E")
    finding = run(queues(site.commands, options(), FOUND, "ada"))
    assert finding.status is Status.WARN
    assert "they will wait" in finding.sentence
    assert "a.q@node1 is disabled" in finding.evidence


def test_no_permission(site: Site) -> None:
    """The user, the queue, and which list one would have to be on."""
    site.says("qselect -U ada -q a.q", "no queues remaining", fails=True)
    site.says("qconf -sql", "a.q\nb.q")
    site.says("qconf -sq a.q", "qname a.q\nuser_lists staff\nxuser_lists NONE")
    refused = CommandResult(
        'Job 6 has no permission for cluster queue "a.q"\nExiting.', ok=False
    )
    finding = run(queues(site.commands, options(queue="a.q"), refused, "ada"))
    assert finding.status is Status.FAIL
    assert finding.sentence == "ada has no permission for queue 'a.q'"
    assert finding.evidence[0].startswith("Job 6 has no permission")
    assert "a.q: user_lists staff" in finding.evidence[1]
    assert "--queue" in finding.advice


def test_no_such_queue(site: Site) -> None:
    """Those there are."""
    site.says("qselect -U ada -q x.q", "", fails=True)
    site.says("qconf -sql", "a.q\nb.q")
    refused = CommandResult('job requests unknown queue "x.q"', ok=False)
    finding = run(queues(site.commands, options(queue="x.q"), refused, "ada"))
    assert finding.sentence == "there is no queue 'x.q'"
    assert "a.q, b.q" in finding.advice


def test_options_that_no_queue_has(site: Site) -> None:
    """Grid Engine's own words."""
    site.says("qselect -U ada", "a.q@node1")
    refused = CommandResult("verification: no suitable queues", ok=False)
    finding = run(queues(site.commands, options(), refused, "ada"))
    assert finding.sentence == "no queue can run jobs with these options"
    assert finding.evidence == ("verification: no suitable queues",)


def test_a_site_that_does_not_tell(site: Site) -> None:
    """The probe will: that is no failure."""
    site.says("qselect -U ada", "?")
    site.says("qstat -f", "?")
    assert run(queues(site.commands, options(), FOUND, "ada")).status is Status.WARN
