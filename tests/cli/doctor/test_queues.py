"""Queues, parallel environments and limits of a site."""

from __future__ import annotations

import pytest

from dask_gridengine.cli.doctor.finding import Finding, Status
from dask_gridengine.cli.doctor.grid_checks.commands import CommandResult
from dask_gridengine.cli.doctor.grid_checks.limits import check_limits
from dask_gridengine.cli.doctor.grid_checks.parallel_environments import (
    check_parallel_environments,
)
from dask_gridengine.cli.doctor.grid_checks.queues import check_queues, running_tasks
from tests.cli.doctor.conftest import Site, options, run

SUITABLE = CommandResult(text="verification: found suitable queue(s)", ok=True)
UNSUITABLE = CommandResult(text="verification: no suitable queues\nExiting.")
LISTING = """\
queuename                      qtype resv/used/tot. load_avg arch          states
---------------------------------------------------------------------------------
a.q@node1                      BIP   0/3/8          0.11     lx-amd64      {}
---------------------------------------------------------------------------------
a.q@node2                      BIP   0/0/8          0.11     lx-amd64      {}
---------------------------------------------------------------------------------
secret.q@node3                 BIP   0/0/99         0.11     lx-amd64
"""


def of_queues(
    site: Site, verified: CommandResult = SUITABLE, **given: object
) -> Finding:
    return run(check_queues(site.commands, options(**given), verified, "ada"))


@pytest.mark.parametrize(
    ("states", "status", "part"),
    [
        (("", ""), Status.PASS, "a.q: 2 hosts, 13 of 16 slots free"),
        (("", "au"), Status.WARN, "1 host, 5 of 8 slots free"),
        (("d", "E"), Status.WARN, "they will wait"),
    ],
)
def test_queues_that_take_jobs(
    site: Site, states: tuple[str, str], status: Status, part: str
) -> None:
    """Only hosts of the user's queues count; bad ones are listed with their state."""
    site.prints("qselect -U ada", "a.q@node1\na.q@node2")
    site.prints("qstat -f", LISTING.format(*states))
    finding = of_queues(site)
    assert finding.status is status
    assert part in finding.sentence
    assert len(finding.evidence) == sum(map(bool, states))


def test_no_such_queue(site: Site) -> None:
    """The advice lists the queues there are."""
    site.prints("qselect -U ada -q x.q", "", fails=True)
    site.prints("qconf -sql", "a.q\nb.q")
    finding = of_queues(site, UNSUITABLE, queue="x.q")
    assert finding.status is Status.FAIL
    assert "a.q, b.q" in finding.advice


def test_no_suitable_queue(site: Site) -> None:
    """Grid Engine's own text says which option is wrong."""
    site.prints("qselect -U ada", "a.q@node1")
    finding = of_queues(site, UNSUITABLE)
    assert finding.status is Status.FAIL
    assert finding.evidence == ("verification: no suitable queues",)


def test_queues_are_not_listed(site: Site) -> None:
    """Without a listing the trial cluster decides: a warning."""
    assert of_queues(site).status is Status.WARN


def test_running_tasks(site: Site) -> None:
    """Tasks of other jobs are left out."""
    site.prints(
        "qstat -s r",
        "job-ID prior name user state submit/start at queue slots ja-task-ID\n"
        "------\n"
        "7 0.5 d root r 11/25/2026 10:35:19 a.q@node1 1 2\n"
        "8 0.5 d root r 11/25/2026 10:35:19 a.q@node9 1 1",
    )
    assert run(running_tasks(site.commands, "7")) == {2: "a.q@node1"}


def of_environments(site: Site, **given: object) -> Finding:
    check = check_parallel_environments(site.commands, options(**given), "ada")
    return run(check)


def offer(site: Site, **rules: str) -> None:
    """Give the site these environments, each with its allocation rule."""
    site.prints("qconf -spl", "\n".join(rules))
    site.prints("qselect -U ada", "a.q@node1")
    for name, rule in rules.items():
        site.prints(f"qconf -sp {name}", f"pe_name {name}\nallocation_rule {rule}")
        site.prints(f"qselect -U ada -pe {name}", "a.q@node1")


def test_the_usual_environment_is_recommended(site: Site) -> None:
    """It is an optional setting, and the one to use for cores above 1."""
    offer(site, mpi="$fill_up", amber="$pe_slots", smp="$pe_slots", eight="8")
    finding = of_environments(site)
    assert finding.status is Status.PASS
    (setting,) = finding.settings
    assert (setting.key, setting.value) == ("parallel-environment", "smp")
    assert setting.optional
    finding = of_environments(site, cores=4)
    assert finding.status is Status.FAIL
    assert "--parallel-environment smp" in finding.advice


def test_unusable_environments(site: Site) -> None:
    """One that spreads slots over hosts fails, and so does one that does not exist."""
    offer(site, mpi="$round_robin", smp="$pe_slots")
    finding = of_environments(site, cores=4, parallel_environment="mpi")
    assert finding.status is Status.FAIL
    assert "allocation_rule $round_robin" in finding.sentence
    finding = of_environments(site, parallel_environment="shm")
    assert finding.status is Status.FAIL
    assert "smp" in finding.advice
    assert of_environments(site, parallel_environment="smp").status is Status.PASS


def test_environments_of_other_users(site: Site) -> None:
    """They are not recommended; without a queue nothing is checked."""
    offer(site, smp="$pe_slots")
    site.prints("qselect -U ada -pe smp", "no queues remaining", fails=True)
    assert of_environments(site).status is Status.WARN
    site.prints("qselect -U ada", "no queues remaining", fails=True)
    assert of_environments(site).status is Status.SKIP


def of_limits(
    site: Site, h_rt: str = "INFINITY", counts: str = "", **given: object
) -> Finding:
    site.prints("qconf -sconf", f"max_u_jobs 0\n{counts}")
    site.prints("qconf -ssconf", "maxujobs 0")
    site.prints("qquota -u ada", "")
    site.prints("qselect -U ada", "a.q@node1\na.q@node2")
    site.prints("qconf -sq a.q", f"qname a.q\nh_rt {h_rt}")
    return run(check_limits(site.commands, options(**given), "ada"))


def test_limits_are_listed(site: Site) -> None:
    """A number of 0, and INFINITY, are no limit."""
    finding = of_limits(site)
    assert finding.status is Status.PASS
    assert "no number of jobs is limited" in finding.sentence
    assert "no queue has a limit" in finding.sentence
    finding = of_limits(site, "24:00:00", "max_aj_tasks 75000")
    assert "75000 nodes in one array" in finding.sentence
    assert "a.q: 86400 s" in finding.sentence


def test_limits_that_a_cluster_exceeds(site: Site) -> None:
    """The advice is the largest value that is possible."""
    finding = of_limits(site, "1:00:00", walltime="2h")
    assert finding.status is Status.WARN
    assert finding.advice == "walltime: 3600"
    assert of_limits(site, "1:00:00", walltime="1h").status is Status.PASS
    assert of_limits(site, "INFINITY", walltime="1h").status is Status.PASS
    finding = of_limits(site, counts="max_aj_instances 50", max_jobs=100)
    assert finding.status is Status.WARN
    assert finding.advice == "max_jobs: 50"


def test_limits_are_not_listed(site: Site) -> None:
    """The check is skipped where qconf fails."""
    check = check_limits(site.commands, options(), "ada")
    assert run(check).status is Status.SKIP
