"""Checks of Grid Engine and its configuration, on a site of prepared outputs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from dask_gridengine.batch import OVERRIDE, commands
from dask_gridengine.batch.commands import user_name
from dask_gridengine.cli.doctor import grid_checks, resource_checks
from dask_gridengine.cli.doctor.finding import Finding, Findings, Status
from dask_gridengine.cli.doctor.grid_commands import Grid
from dask_gridengine.daemon_threads import in_thread
from tests.batch.commands import instances
from tests.cli.doctor.conftest import Site, options

USABLE = f"qselect -U {user_name()}"
VERIFY = "qsub -w v -b y _bin_true"


@pytest.fixture
def cell(tmp_path: Path) -> dict[str, str]:
    """The environment of a cell."""
    common = tmp_path / "default" / "common"
    common.mkdir(parents=True)
    (common / "act_qmaster").write_text("login1\n")
    return {"SGE_ROOT": str(tmp_path)}


def test_commands_are_also_found_in_sge_root(site: Site, tmp_path: Path) -> None:
    """Without them the site is not checked."""
    site.prints("qconf -sql", "all.q\nlong.q")
    architecture = tmp_path / "bin" / "lx-amd64"
    architecture.mkdir()
    (tmp_path / "bin" / "qconf").rename(architecture / "qconf")
    grid = Grid({**site.environment, "PATH": "/nowhere"})
    assert grid.run("qconf", "-sql").lines == ["all.q", "long.q"]
    assert grid.missing() == ["qselect", "qstat", "qsub"]


def test_a_command_that_fails_or_hangs(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a result, with what the command printed; a hanging one is killed."""
    site.prints("qconf -sq x", "no such queue", fails=True)
    assert site.grid.run("qconf", "-sq", "x") == (False, "no such queue")
    (tmp_path / "bin" / "qstat").write_text("#!/bin/sh\nexec sleep 600\n")
    monkeypatch.setattr(commands, "TIMEOUT", 0.2)
    shown = site.grid.run("qstat")
    assert not shown.ok
    assert "timed out" in shown.text


def test_a_missing_grid_is_only_a_failure_where_one_is_expected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the option, or by the environment."""
    monkeypatch.setattr(
        "dask_gridengine.launchers.drmaa.discovery.DEBIAN_ROOT", "/nowhere"
    )
    assert not grid_checks.expects_grid({}, options())
    assert grid_checks.expects_grid({}, options(launcher="drmaa"))
    assert grid_checks.expects_grid({"SGE_ROOT": "/x"}, options())
    forced = options(launcher="process")
    assert not grid_checks.expects_grid({"SGE_ROOT": "/x"}, forced)


def test_another_grid() -> None:
    """Grid Engine's commands are not used for a grid of another kind."""
    assert grid_checks.other_grid({"DRMAA_LIBRARY_PATH": "/x"})
    assert grid_checks.other_grid({"SGE_ROOT": "/x", OVERRIDE: "slurm"})
    assert not grid_checks.other_grid({"SGE_ROOT": "/x"})


def test_wrong_sge_root(cell: dict[str, str]) -> None:
    """The finding names the directory."""
    assert grid_checks.check_cell(cell).status is Status.PASS
    finding = grid_checks.check_cell({"SGE_ROOT": "/nowhere"})
    assert finding.status is Status.FAIL
    assert "SGE_ROOT=/nowhere" in finding.sentence


def test_cell_on_a_dead_file_server(cell: dict[str, str], tmp_path: Path) -> None:
    """A check ends in time although the file it reads never answers."""
    act = tmp_path / "default" / "common" / "act_qmaster"
    act.unlink()
    os.mkfifo(act)
    findings = Findings(lambda finding: None)
    check = in_thread(grid_checks.check_cell, cell)
    assert not asyncio.run(findings.check("cell", check, timeout=0.2))
    act.write_text("now")  # ends the thread that reads


@pytest.mark.parametrize(
    ("text", "fails", "status"),
    [
        ("login1", False, Status.PASS),
        ("no submit host defined", True, Status.PASS),
        ('denied: host "x" is neither submit nor admin host', True, Status.PASS),
        ("error: commlib error: got select error", True, Status.FAIL),
    ],
)
def test_qmaster_answers(site: Site, text: str, fails: bool, status: Status) -> None:
    """A refusal by the master is an answer; an error of the command's own is not."""
    site.prints("qconf -ss", text, fails=fails)
    assert grid_checks.check_qmaster(site.grid).status is status


def of_queues(site: Site, **given: object) -> Finding:
    return grid_checks.check_queues(site.grid, options(**given))


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
    site.prints(VERIFY, "verification: found suitable queue(s)")
    site.prints(USABLE, "a.q@node1\na.q@node2")
    first, second = states
    site.prints("qstat -f -s r -xml", instances(node1=first, node2=second, node3=""))
    finding = of_queues(site)
    assert finding.status is status
    assert part in finding.sentence
    assert len(finding.evidence) == sum(map(bool, states))


@pytest.mark.parametrize("fails", [True, False])
def test_no_such_queue(site: Site, fails: bool) -> None:
    """The finding lists the queues that exist; qselect may fail or print nothing."""
    site.prints("qconf -sql", "a.q\nb.q")
    site.prints(f"{USABLE} -q x.q", "", fails=fails)
    finding = of_queues(site, queue="x.q")
    assert finding.status is Status.FAIL
    assert "x.q" in finding.sentence
    assert "queues: a.q, b.q" in finding.evidence


def test_no_suitable_queue(site: Site) -> None:
    """Grid Engine's own text says which option is wrong."""
    site.prints(USABLE, "a.q@node1")
    unsuitable = "verification: no suitable queues"
    site.prints(
        "qsub -w v -l gpu=1 -b y _bin_true", f"{unsuitable}\nExiting.", fails=True
    )
    finding = of_queues(site, resource_spec="gpu=1")
    assert finding.status is Status.FAIL
    assert list(finding.evidence) == [unsuitable]


def of_environments(site: Site, **given: object) -> Finding:
    return resource_checks.check_parallel_environments(site.grid, options(**given))


def offer(site: Site, **rules: str) -> None:
    """Give the site these environments, each with its allocation rule."""
    site.prints("qconf -spl", "\n".join(rules))
    for name, rule in rules.items():
        site.prints(f"qconf -sp {name}", f"pe_name {name}\nallocation_rule {rule}")
        site.prints(f"{USABLE} -pe {name}", "a.q@node1")


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
    """One that spreads slots over hosts fails; those of others are not recommended."""
    offer(site, mpi="$round_robin", smp="$pe_slots")
    finding = of_environments(site, cores=4, parallel_environment="mpi")
    assert finding.status is Status.FAIL
    assert "allocation_rule $round_robin" in finding.sentence
    assert of_environments(site, parallel_environment="smp").status is Status.PASS
    site.prints(f"{USABLE} -pe smp", "no queues remaining", fails=True)
    assert of_environments(site).status is Status.WARN


HEADER = "#name shortcut type relop requestable consumable default urgency"
PLAIN = "h_vmem h_vmem MEMORY <= YES NO 0 0"
PER_SLOT = "h_vmem h_vmem MEMORY <= YES YES 2G 0"
PER_JOB = "mem_free mf MEMORY <= YES JOB 0 0"
PER_HOST = "mem_host mh MEMORY <= YES HOST 0 0"


@pytest.mark.parametrize(
    ("lines", "option", "status", "setting"),
    [
        ([PLAIN, "slots s INT <= YES YES 1 1000"], None, Status.PASS, []),
        ([PER_JOB, PER_SLOT], None, Status.WARN, ["h_vmem"]),  # the most usual
        ([PER_JOB], None, Status.WARN, ["mem_free"]),
        ([PER_JOB], "mf", Status.PASS, []),
        ([PER_HOST], None, Status.WARN, ["mem_host"]),
        ([PLAIN], "h_vmem", Status.WARN, []),  # reserves nothing
    ],
)
def test_memory(
    site: Site, lines: list[str], option: str | None, status: Status, setting: list[str]
) -> None:
    """A complex that reserves memory is recommended, or that of the option checked."""
    site.prints("qconf -sc", "\n".join([HEADER, *lines]))
    given = options(memory="4 GB", memory_resource=option)
    finding = resource_checks.check_memory(site.grid, given)
    assert finding.status is status
    assert [each.value for each in finding.settings] == setting


def test_a_memory_resource_without_effect(site: Site) -> None:
    """Nothing is requested without a number, and nothing can be of an unknown name."""
    site.prints("qconf -sc", f"{HEADER}\n{PER_SLOT}")
    without = options(memory_resource="h_vmem")
    assert resource_checks.check_memory(site.grid, without).status is Status.WARN
    unknown = options(memory="4 GB", memory_resource="nope")
    finding = resource_checks.check_memory(site.grid, unknown)
    assert finding.status is Status.FAIL
    assert "h_vmem" in finding.advice


def test_limits(site: Site) -> None:
    """0 means no limit; the advice is the largest possible value."""
    site.prints("qconf -sconf", "max_u_jobs 0\nmax_aj_tasks 75000\nmax_aj_instances 50")
    site.prints("qconf -ssconf", "maxujobs 0")
    finding = resource_checks.check_limits(site.grid, options())
    assert finding.status is Status.PASS
    assert "75000 nodes in one array" in finding.sentence
    assert "jobs of one user" not in finding.sentence
    finding = resource_checks.check_limits(site.grid, options(max_jobs=100))
    assert finding.status is Status.WARN
    assert finding.advice == "max_jobs: 50"


def test_configuration_that_is_not_shown(site: Site) -> None:
    """The checks are skipped where qconf fails."""
    for check in (resource_checks.check_memory, resource_checks.check_limits):
        assert check(site.grid, options()).status is Status.SKIP
