"""Memory: which complex books it, per slot or per job; and what must be asked for."""

from __future__ import annotations

from dataclasses import dataclass

from dask_gridengine.batch.sge.submit_options import hard_requests
from dask_gridengine.doctor.commands import Commands
from dask_gridengine.doctor.finding import (
    Finding,
    Setting,
    Status,
    failed,
    passed,
    skipped,
    warned,
)
from dask_gridengine.options import Options

NAME = "memory"
PER = {"YES": "slot", "JOB": "job"}  # man 5 complex; HOST is Univa's: once per host
#: What admins make consumable, the likeliest first; any other comes behind these.
USUAL = (
    "h_vmem",
    "mem_free",
    "m_mem_free",
    "virtual_free",
    "h_rss",
    "s_vmem",
    "h_data",
)


@dataclass(frozen=True, kw_only=True)
class Complex:
    """One line of ``qconf -sc``."""

    name: str
    shortcut: str
    type: str
    requestable: str  # YES, NO or FORCED
    consumable: str  # YES (per slot), JOB or NO
    default: str


def parse_complexes(text: str) -> list[Complex]:
    """All complexes of a site.

    Examples
    --------
    >>> parse_complexes("h_vmem  h_vmem  MEMORY  <=  YES  JOB  2G  0")[0].consumable
    'JOB'
    """
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 7 and not line.startswith("#"):
            name, shortcut, kind, _, requestable, consumable, default = words[:7]
            found.append(
                Complex(
                    name=name,
                    shortcut=shortcut,
                    type=kind,
                    requestable=requestable,
                    consumable=consumable,
                    default=default,
                )
            )
    return found


def bookable(complexes: list[Complex]) -> list[Complex]:
    """Those that book memory, the likeliest first."""
    usual = {name: place for place, name in enumerate(USUAL)}
    found = [
        c
        for c in complexes
        if c.type == "MEMORY" and c.consumable in PER and c.requestable != "NO"
    ]
    # What must be asked for comes before what may be.
    return sorted(
        found,
        key=lambda c: (c.requestable != "FORCED", usual.get(c.name, 99), c.name),
    )


async def memory(commands: Commands, options: Options, native: str) -> Finding:
    """Which complex memory is to be asked for with."""
    shown = await commands.run("qconf", "-sc")
    if not shown.ok:
        return skipped(NAME, "qconf -sc does not say which complexes there are")
    complexes = parse_complexes(shown.text)
    if lacking := _forced(complexes, native):
        return failed(
            NAME,
            f"every job here must ask for {lacking[0].name} (requestable FORCED)",
            f"memory_resource: {lacking[0].name}, with memory"
            if lacking[0].type == "MEMORY"
            else f"resource_spec: '{lacking[0].name}=...'",
        )
    if options.memory_resource:
        return _given(complexes, options)
    return _proposed(complexes)


def _forced(complexes: list[Complex], native: str) -> list[Complex]:
    """Complexes that every job must ask for, and that these options do not."""
    asked = {
        resource.partition("=")[0]
        for _, value in hard_requests(native, ("-l",))
        for resource in value.split(",")
    }
    return [
        c
        for c in complexes
        if c.requestable == "FORCED" and not {c.name, c.shortcut} & asked
    ]


def _given(complexes: list[Complex], options: Options) -> Finding:
    name = options.memory_resource
    here = next((c for c in complexes if name in (c.name, c.shortcut)), None)
    books = ", ".join(c.name for c in bookable(complexes)) or "none"
    if here is None or here.requestable == "NO":
        return failed(
            NAME,
            f"memory_resource={name!r} is no complex that jobs may ask for here",
            "choose another; qconf -sc lists them",
            f"those that book memory: {books}",
        )
    if here.consumable not in PER:
        return warned(
            NAME,
            f"{name} is not consumable: asking for it chooses hosts but books nothing,"
            " so others may be given the same memory",
            f"memory_resource: one of those that book memory ({books})",
        )
    per = PER[here.consumable]
    if not options.memory:
        return warned(
            NAME,
            f"{name} is charged per {per}, but memory is not set, so nothing is asked"
            " for",
            "memory: '4 GB', say",
        )
    return passed(NAME, f"{name} books it, charged per {per}")


def _proposed(complexes: list[Complex]) -> Finding:
    found = bookable(complexes)
    if not found:
        return passed(
            NAME,
            "no complex of this site books memory (none is consumable): memory is a"
            " limit of the worker's own, and nothing is asked of the grid for it",
        )
    best, per = found[0], PER[found[0].consumable]
    settings = (
        Setting(
            key="memory-resource",
            value=best.name,
            because=f"qconf -sc: {best.name} is consumable, and may be asked for",
        ),
    )
    others = ", ".join(f"{c.name} (per {PER[c.consumable]})" for c in found[1:])
    return Finding(
        name=NAME,
        status=Status.WARN,
        sentence=f"{best.name} books memory, charged per {per}, and nothing asks for"
        f" it: a job gets the default, {best.default}",
        advice=f"memory_resource: {best.name}, and memory: what a node needs",
        evidence=(f"others that book memory: {others}",) if others else (),
        settings=settings,
    )
