"""Memory: which complex books it, how it is charged, and what must be asked for."""

from __future__ import annotations

from dask_gridengine.doctor.complexes import memory
from dask_gridengine.doctor.finding import Finding, Status
from tests.doctor.conftest import Site, options, run

HEAD = "#name shortcut type relop requestable consumable default urgency\n#---"


def look(site: Site, *lines: str, native: str = "", **given: object) -> Finding:
    site.says("qconf -sc", "\n".join([HEAD, *lines]))
    return run(memory(site.commands, options(**given), native))


PLAIN = "h_vmem h_vmem MEMORY <= YES NO 0 0"
PER_SLOT = "h_vmem h_vmem MEMORY <= YES YES 2G 0"
PER_JOB = "mem_free mf MEMORY <= YES JOB 0 0"


def test_a_site_that_books_no_memory(site: Site) -> None:
    """That is well, and needs no setting."""
    finding = look(site, PLAIN, "slots s INT <= YES YES 1 1000")
    assert finding.status is Status.PASS
    assert finding.settings == ()


def test_a_complex_that_books_it(site: Site) -> None:
    """It is proposed with how it is charged, and the default one gets without."""
    finding = look(site, PER_JOB, PER_SLOT)
    assert finding.status is Status.WARN
    assert "h_vmem books memory, charged per slot" in finding.sentence
    assert "2G" in finding.sentence
    assert {s.key: s.value for s in finding.settings} == {
        "memory-resource": "h_vmem",
    }
    assert finding.evidence == ("others that book memory: mem_free (per job)",)


def test_one_charged_per_job(site: Site) -> None:
    """The request is for all of the node then, without a further option."""
    finding = look(site, PER_JOB)
    assert {s.value for s in finding.settings} == {"mem_free"}
    right = look(site, PER_JOB, memory_resource="mf", memory="4 GB")
    assert right.status is Status.PASS


def test_one_that_books_nothing(site: Site) -> None:
    """To ask for it chooses hosts, and others get the same memory."""
    finding = look(site, PLAIN, PER_JOB, memory_resource="h_vmem", memory="4 GB")
    assert finding.status is Status.WARN
    assert "not consumable" in finding.sentence
    assert "mem_free" in finding.advice


def test_one_that_is_not_there(site: Site) -> None:
    """Those that are."""
    finding = look(site, PER_SLOT, memory_resource="ram", memory="4 GB")
    assert finding.status is Status.FAIL
    assert "those that book memory: h_vmem" in finding.evidence


def test_a_complex_without_memory(site: Site) -> None:
    """Nothing is asked for as long as nobody says how much."""
    assert look(site, PER_SLOT, memory_resource="h_vmem").status is Status.WARN


def test_one_that_must_be_asked_for(site: Site) -> None:
    """The grid would refuse, or never run, what does not."""
    forced = "gpu g INT <= FORCED YES 0 0"
    finding = look(site, forced)
    assert finding.status is Status.FAIL
    assert "gpu" in finding.sentence
    assert look(site, forced, native="-l g=1").status is Status.PASS
    memory = look(site, "h_vmem h_vmem MEMORY <= FORCED YES 0 0")
    assert "memory_resource: h_vmem" in memory.advice


def test_a_site_that_does_not_tell(site: Site) -> None:
    """It is not looked at, and that is said."""
    site.says("qconf -sc", "denied", fails=True)
    assert run(memory(site.commands, options(), "")).status is Status.SKIP
