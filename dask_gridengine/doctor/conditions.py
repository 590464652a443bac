"""Findings of a probe: how the hosts are. Import time, scratch directory, clock."""

from __future__ import annotations

from collections.abc import Sequence

from dask_gridengine.bootstrap.certificates import BACKDATED
from dask_gridengine.doctor.finding import Finding, failed, passed, skipped, warned
from dask_gridengine.doctor.outcome import Outcome, places, size, spread

SLOW_IMPORT = 10.0  # seconds; from a local disk it is under one
LITTLE_ROOM = 1e9  # bytes; workers spill to it what they cannot hold
SLOW_DISK = 20e6  # bytes a second; a network's tenth
WRONG_CLOCK = 5.0  # seconds
#: Of a clock that is only known by when a file was seen: file servers may hold back
#: what they show for a minute (``man 5 nfs``, acdirmax).
GUESS_GIVE = 60.0
NOBODY = "no node has told"


def imports(outcomes: Sequence[Outcome]) -> Finding:
    """How long Dask takes to be imported there."""
    name = "import of dask"
    told = [o for o in outcomes if o.report is not None]
    if broken := [o for o in told if o.report and o.report.import_error]:
        report = broken[0].report
        assert report is not None
        return failed(
            name,
            f"{places(broken)}: {report.import_error}",
            f"try there: {report.executable} -c 'import dask_gridengine.worker.run'",
        )
    times = [o.report.imported for o in told if o.report and o.report.imported]
    if not times:
        return skipped(name, NOBODY)
    if max(times) > SLOW_IMPORT:
        return warned(
            name,
            f"takes {spread(times)}: every node waits for that",
            "a slow file server: put the environment onto one that is fast or onto the"
            " hosts' own disks; processes= lets workers share an import",
        )
    return passed(name, f"takes {spread(times)}")


def scratch(outcomes: Sequence[Outcome]) -> Finding:
    """Room and speed of the scratch directory."""
    told = [o for o in outcomes if o.report is not None and o.report.scratch]
    advice = (
        "local_directory: one with room on every host; without it the job's TMPDIR is"
        " used, which the queue's tmpdir says"
    )
    if wrong := [o for o in told if o.report and o.report.scratch_error]:
        report = wrong[0].report
        assert report is not None
        return failed(
            "scratch",
            f"{places(wrong)} cannot write to its scratch directory {report.scratch}:"
            f" {report.scratch_error.lower()}",
            advice,
        )
    known = [
        (o, o.report) for o in told if o.report and o.report.scratch_free is not None
    ]
    if not known:
        return skipped("scratch", NOBODY)
    tight = min(known, key=lambda pair: pair[1].scratch_free or 0)
    slow = min(known, key=lambda pair: pair[1].scratch_speed or 0)
    room, speed = tight[1].scratch_free or 0, slow[1].scratch_speed or 0.0
    said = (
        f"{tight[1].scratch}: {size(room)} free, {size(speed)} a second, at the least"
    )
    if room < LITTLE_ROOM:
        return warned("scratch", f"{tight[0].host} has little room: {said}", advice)
    if speed < SLOW_DISK:
        return warned("scratch", f"{slow[0].host} is slow: {said}", advice)
    return passed("scratch", said)


def clock(outcomes: Sequence[Outcome]) -> Finding:
    """How the nodes' clocks differ from this one."""
    known: list[tuple[float, float, str]] = []
    for outcome in outcomes:
        if (measured := _ahead(outcome)) is not None:
            known.append((*measured, outcome.host))
    if not known:
        return skipped("clock", NOBODY)
    ahead, give, host = max(known, key=lambda one: abs(one[0]))
    way = "ahead of" if ahead > 0 else "behind"
    said = f"the clock of {host} is {_seconds(abs(ahead))} {way} ours"
    about = f"known within {_seconds(give)}"
    advice = "tell the admins of that host: its clock (chronyd, ntpd) is not set"
    if ahead < -BACKDATED.total_seconds():
        return failed(
            "clock",
            f"{said}: to it our TLS certificates are not valid yet",
            advice,
            about,
        )
    if abs(ahead) > WRONG_CLOCK + give:
        return warned(
            "clock",
            f"{said}: times of files and logs do not agree",
            advice,
            about,
        )
    return passed("clock", f"{_seconds(abs(ahead))} off at the most, {about}")


def _ahead(outcome: Outcome) -> tuple[float, float] | None:
    """Seconds before our clock, and how well that is known."""
    report = outcome.report
    if report is None:
        return None
    if report.ahead is not None:
        return report.ahead, report.ahead_give
    if outcome.seen is None or not report.clock:
        return None
    return report.clock - outcome.seen, GUESS_GIVE


def _seconds(seconds: float) -> str:
    if seconds < 0.001:
        return "less than 1 ms"
    if seconds < 120:
        return f"{seconds:.2g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:.1f} days"
