"""How jobs request memory, and what every job must request."""

from __future__ import annotations

import pytest

from dask_gridengine.cli.doctor.finding import Finding, Status
from dask_gridengine.cli.doctor.grid_checks.memory import check_memory
from tests.cli.doctor.conftest import Site, options, run

HEAD = "#name shortcut type relop requestable consumable default urgency\n#---"
PLAIN = "h_vmem h_vmem MEMORY <= YES NO 0 0"
PER_SLOT = "h_vmem h_vmem MEMORY <= YES YES 2G 0"
PER_JOB = "mem_free mf MEMORY <= YES JOB 0 0"
FORCED_GPU = "gpu g INT <= FORCED YES 0 0"


def check(site: Site, *lines: str, native: str = "", **given: object) -> Finding:
    site.prints("qconf -sc", "\n".join([HEAD, *lines]))
    return run(check_memory(site.commands, options(**given), native))


def test_memory_is_not_reserved(site: Site) -> None:
    """A site without a consumable complex of memory needs no setting."""
    finding = check(site, PLAIN, "slots s INT <= YES YES 1 1000")
    assert finding.status is Status.PASS
    assert finding.settings == ()


@pytest.mark.parametrize(
    ("lines", "settings"),
    [((PER_JOB, PER_SLOT), {"h_vmem"}), ((PER_JOB,), {"mem_free"})],
)
def test_a_complex_is_recommended(
    site: Site, lines: tuple[str, ...], settings: set[str]
) -> None:
    """The setting is the most usual complex."""
    finding = check(site, *lines)
    assert finding.status is Status.WARN
    assert {setting.value for setting in finding.settings} == settings


@pytest.mark.parametrize(
    ("line", "given", "status"),
    [
        (PER_JOB, {"memory_resource": "mf"}, Status.PASS),
        (PLAIN, {"memory_resource": "h_vmem"}, Status.WARN),  # reserves nothing
        (PER_SLOT, {"memory_resource": "ram"}, Status.FAIL),
        (PER_SLOT, {"memory_resource": "h_vmem", "memory": None}, Status.WARN),
    ],
)
def test_the_option(
    site: Site, line: str, given: dict[str, object], status: Status
) -> None:
    """``memory_resource`` must exist, and should reserve memory."""
    assert check(site, line, **{"memory": "4 GB", **given}).status is status


def test_forced_complexes(site: Site) -> None:
    """The grid never runs a job that does not request them."""
    finding = check(site, FORCED_GPU)
    assert finding.status is Status.FAIL
    assert "gpu" in finding.sentence
    assert check(site, FORCED_GPU, native="-l g=1").status is Status.PASS
    finding = check(site, "h_vmem h_vmem MEMORY <= FORCED YES 0 0")
    assert "memory_resource: h_vmem" in finding.advice


def test_complexes_are_not_listed(site: Site) -> None:
    """The check is skipped where qconf fails."""
    assert run(check_memory(site.commands, options(), "")).status is Status.SKIP
