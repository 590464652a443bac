"""Findings of a probe: which of our addresses nodes reach, by which keys, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dask_gridengine.doctor.arrivals import cause_of
from dask_gridengine.doctor.finding import (
    Finding,
    Setting,
    failed,
    passed,
    skipped,
)
from dask_gridengine.doctor.outcome import Outcome, places, spread
from dask_gridengine.exit_causes import Cause
from dask_gridengine.net.addresses import split
from dask_gridengine.net.connect_probe import CONNECTED

UNREACHED = (
    "--interface (option interface): a network that the nodes reach; in a firewall"
    " open two ports and name them with bootstrap_port and scheduler_port; behind NAT"
    " contact_address says where they are"
)
NOBODY = "no node has told"
UNREACHED_BY = "because of: addresses"


def addresses(
    outcomes: Sequence[Outcome], admission: Sequence[str], scheduler: Sequence[str]
) -> Finding:
    """Which of our addresses and ports each node reaches.

    Parameters
    ----------
    door, scheduler
        As nodes were told, the likeliest first.
    """
    cut = [o for o in outcomes if cause_of(o) is Cause.UNREACHABLE]
    if cut:
        return failed(
            "addresses",
            f"from {places(cut)} none of our addresses is reached:"
            f" {', '.join([*admission, *scheduler])}",
            UNREACHED,
        )
    told = [o for o in outcomes if o.report is not None and o.report.tried]
    if not told:
        return skipped("addresses", NOBODY)
    for what, ours in (
        ("our bootstrap (bootstrap_port)", admission),
        ("our scheduler (scheduler_port)", scheduler),
    ):
        if far := [o for o in told if not _reaches(o, ours)]:
            return _unreached(far, what, ours)
    return _reached(told, admission, scheduler)


def _tried(outcomes: Sequence[Outcome]) -> bool:
    return any(o.report is not None and o.report.tried for o in outcomes)


def _answer(outcome: Outcome, address: str) -> str:
    return outcome.report.tried.get(address, "") if outcome.report is not None else ""


def _reaches(outcome: Outcome, ours: Sequence[str]) -> bool:
    return any(_answer(outcome, address) == CONNECTED for address in ours)


def _unreached(far: Sequence[Outcome], what: str, ours: Sequence[str]) -> Finding:
    tried = [f"{a}: {_answer(far[0], a) or 'not tried'}" for a in ours]
    return failed(
        "addresses",
        f"{what} is not reached from {places(far)}: {'; '.join(tried)}",
        UNREACHED,
    )


def _reached(
    told: Sequence[Outcome], admission: Sequence[str], scheduler: Sequence[str]
) -> Finding:
    everything = [*admission, *scheduler]
    good = [a for a in everything if all(_answer(o, a) == CONNECTED for o in told)]
    bad = [a for a in everything if a not in good]
    said = f"reached by {places(told)}: {', '.join(good)}"
    finding = passed("addresses", said)
    if not bad:
        return finding
    answers = sorted({f"{a}: {_answer(o, a)}" for a in bad for o in told})
    finding = replace(
        finding,
        sentence=f"{said}; not by all: {', '.join(bad)}, which does no harm",
        evidence=tuple(line for line in answers if not line.endswith(CONNECTED)),
    )
    if admission[0] in good:
        return finding
    host = split(next(a for a in admission if a in good))[0]
    setting = Setting(
        key="host",
        value=host,
        because=f"nodes reach this address, and not {split(admission[0])[0]}",
    )
    return replace(finding, settings=(setting,))


def curve(outcomes: Sequence[Outcome]) -> Finding:
    """Whether a node's keys open the door."""
    told = [o for o in outcomes if o.report is not None and o.report.tried]
    if wrong := [o for o in told if o.report and o.report.curve_error]:
        assert wrong[0].report is not None
        return failed(
            "CURVE",
            f"{places(wrong)}: {wrong[0].report.curve_error}",
            "see the line of the addresses; if they are reached, something between"
            " changes what is sent",
        )
    times = [o.report.curve for o in told if o.report and o.report.curve is not None]
    if not times:
        return skipped("CURVE", UNREACHED_BY if told else NOBODY)
    return passed("CURVE", f"a node asks and is answered in {spread(times)}")


def tls(outcomes: Sequence[Outcome], *, encrypted: bool) -> Finding:
    """Whether Dask's own connection comes about."""
    name = "TLS" if encrypted else "TCP"
    told = [o for o in outcomes if o.report is not None and o.report.scheduler]
    if wrong := [o for o in told if o.report and o.report.tls_error]:
        report = wrong[0].report
        assert report is not None
        return failed(
            name,
            f"{places(wrong)}: no connection to {report.scheduler}",
            "see the lines of the clock, which certificates depend on, and of the"
            " addresses",
            report.tls_error,
        )
    times = [o.report.tls for o in told if o.report and o.report.tls is not None]
    if not times:
        return skipped(name, UNREACHED_BY if _tried(outcomes) else NOBODY)
    return passed(name, f"connected, greeted and answered in {spread(times)}")


def way_back(outcomes: Sequence[Outcome]) -> Finding:
    """Whether workers are reached from here."""
    told = [o for o in outcomes if o.report is not None and o.report.back]
    if wrong := [o for o in told if o.report and o.report.back != CONNECTED]:
        report = wrong[0].report
        assert report is not None
        return failed(
            "way back",
            f"not reached from here: {places(wrong)}, as at {report.listening}:"
            f" {report.back}; a cluster's work would hang",
            "in the nodes' firewall open a range of ports and name it with worker_port;"
            " worker_interface chooses another network of theirs",
        )
    if not told:
        return skipped("way back", UNREACHED_BY if _tried(outcomes) else NOBODY)
    assert told[0].report is not None
    return passed(
        "way back",
        f"reached from here: {places(told)}, as at {told[0].report.listening}",
    )
