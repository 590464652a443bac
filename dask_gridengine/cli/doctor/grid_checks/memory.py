"""Checks how jobs request memory, and which resources every job must request."""

from __future__ import annotations

from typing import NamedTuple

from dask_gridengine.batch.sge.submit_options import hard_requests
from dask_gridengine.cli.doctor.finding import (
    Finding,
    Setting,
    failed,
    passed,
    skipped,
    warned,
)
from dask_gridengine.cli.doctor.grid_checks.commands import GridCommands
from dask_gridengine.options import Options

NAME = "memory"
PER = {"YES": "slot", "JOB": "job"}  # man 5 complex; HOST is Univa's: once per host
#: Usual consumable complexes of memory, the most usual first.
USUAL = ("h_vmem", "mem_free", "m_mem_free", "virtual_free", "h_rss", "s_vmem")


class Complex(NamedTuple):
    """One line of ``qconf -sc``."""

    name: str
    shortcut: str
    type: str
    relation: str
    requestable: str  # YES, NO or FORCED
    consumable: str  # YES (per slot), JOB or NO
    default: str

    @property
    def reserves_memory(self) -> bool:
        """Whether a job that requests it gets that much memory to itself."""
        requestable = self.requestable != "NO"
        return self.type == "MEMORY" and self.consumable in PER and requestable


def parse_complexes(text: str) -> list[Complex]:
    """Read ``qconf -sc``.

    Examples
    --------
    >>> parse_complexes("h_vmem  h_vmem  MEMORY  <=  YES  JOB  2G  0")[0].consumable
    'JOB'
    """
    rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return [Complex(*row[:7]) for row in rows if len(row) >= 7]


async def check_memory(
    commands: GridCommands, options: Options, native: str
) -> Finding:
    """Check ``memory_resource`` against the site's complexes, or propose one."""
    shown = await commands.run("qconf", "-sc")
    if not shown.ok:
        return skipped(NAME, "qconf -sc does not list the complexes")
    complexes = parse_complexes(shown.text)
    requests = hard_requests(native, ("-l",))
    resources = [r for _, value in requests for r in value.split(",")]
    requested = {resource.partition("=")[0] for resource in resources}
    for each in complexes:
        if each.requestable == "FORCED" and not {each.name, each.shortcut} & requested:
            return failed(
                NAME,
                f"every job here must request {each.name} (requestable FORCED)",
                f"memory_resource: {each.name}, with memory"
                if each.type == "MEMORY"
                else f"resource_spec: '{each.name}=...'",
            )
    usual = {name: place for place, name in enumerate(USUAL)}
    reserving = [each for each in complexes if each.reserves_memory]
    reserving.sort(key=lambda c: (usual.get(c.name, len(USUAL)), c.name))
    if options.memory_resource:
        return _of_option(complexes, reserving, options)
    return _proposal(reserving)


def _of_option(
    complexes: list[Complex], reserving: list[Complex], options: Options
) -> Finding:
    name = options.memory_resource
    found = next((c for c in complexes if name in (c.name, c.shortcut)), None)
    names = ", ".join(each.name for each in reserving) or "none"
    if found is None or found.requestable == "NO":
        return failed(
            NAME,
            f"memory_resource={name!r} is not a complex that jobs may request here",
            "use another; qconf -sc lists them",
            f"complexes that reserve memory: {names}",
        )
    if found.consumable not in PER:
        return warned(
            NAME,
            f"{name} is not consumable: it selects hosts but reserves nothing, so the"
            " same memory may be given to other jobs",
            f"memory_resource: one that reserves memory ({names})",
        )
    per = PER[found.consumable]
    if not options.memory:
        return warned(
            NAME,
            f"{name} is charged per {per}, but memory is not set, so none is requested",
            "memory: '4 GB', for example",
        )
    return passed(NAME, f"{name} reserves it, charged per {per}")


def _proposal(reserving: list[Complex]) -> Finding:
    if not reserving:
        return passed(
            NAME,
            "no complex reserves memory here (none is consumable): memory= is only a"
            " limit of the worker, and is not requested from the grid",
        )
    best, *others = reserving
    per = PER[best.consumable]
    listed = ", ".join(f"{each.name} (per {PER[each.consumable]})" for each in others)
    return warned(
        NAME,
        f"{best.name} reserves memory, charged per {per}, but is not requested: a job"
        f" gets the default, {best.default}",
        f"memory_resource: {best.name}, and memory: as much as a node needs",
        *([f"others that reserve memory: {listed}"] if listed else []),
        settings=[
            Setting(
                key="memory-resource",
                value=best.name,
                reason=f"qconf -sc: {best.name} is consumable and requestable",
            ),
        ],
    )
