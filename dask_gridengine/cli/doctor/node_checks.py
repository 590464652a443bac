"""Findings about the nodes of the trial cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dask_gridengine.cli.doctor.finding import (
    Finding,
    failed,
    passed,
    skipped,
    split_hints,
    warned,
)
from dask_gridengine.cli.doctor.node_report import NodeReport
from dask_gridengine.cli.doctor.trial import NodeResult
from dask_gridengine.exit_causes import Cause
from dask_gridengine.formatting import format_duration, format_size, plural
from dask_gridengine.net.connect_probe import CONNECTED
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.options import Options
from dask_gridengine.worker.job_resources import versions

SLOW_START = 10.0  # seconds from a node's arrival to its worker; usual are one or two
LITTLE_ROOM = 1e9  # bytes, for workers to spill to
SLOW_DISK = 20e6  # bytes a second; a network does ten times that
WRONG_CLOCK = 5.0  # seconds
FEW_FILES = 1024  # a worker has a connection to each other worker

#: The check that fails for the cause of a failed node; "nodes" for all others.
CHECK_OF_CAUSE = {
    Cause.NO_LOG: "directory there",
    Cause.UNREADABLE: "directory there",
    Cause.NO_PYTHON: "python",
    Cause.NO_IMPORT: "python",
    Cause.VERSIONS: "versions",
    Cause.UNREACHABLE: "addresses",
    Cause.NO_SCHEDULER: "addresses",
    Cause.NO_LISTEN: "worker ports",
    Cause.NO_SCRATCH: "scratch",
}
#: The same by text in the explanation, where the cause is more general.
CHECK_OF_TEXT = {
    "certificate is not yet valid": "clock",
    "certificate has expired": "clock",
    "No space left on device": "scratch",
    "Disk quota exceeded": "scratch",
    "No module named": "python",
}
ADVICE = {
    "python": "--python (option python): one that has this environment on each node",
    "worker ports": "in the nodes' firewall open a range of ports and name it with"
    " worker_port; worker_interface selects another network",
    "scratch": "local_directory: one with room on every host; the default is the job's"
    " TMPDIR, which the queue's tmpdir sets",
    "clock": "tell the admins of that host that its clock is wrong (chronyd, ntpd); if"
    " it is off by more than a day, no TLS certificate is valid there",
}


def findings(
    results: Sequence[NodeResult], options: Options, timeout: float
) -> Iterator[tuple[str, Finding]]:
    """Make all checks of the nodes, which could queue for `timeout` seconds.

    Checks about which no node reported are skipped.
    """
    checks = _NodeChecks(
        results=results,
        reports=[r.report for r in results if r.report is not None],
        working=hosts(r for r in results if r.answer),
        options=options,
        timeout=timeout,
    )
    for name, check in CHECKS.items():
        finding = checks.failure(name) or check(checks)
        yield name, finding or skipped("no node reported")


@dataclass(frozen=True, kw_only=True)
class _NodeChecks:
    results: Sequence[NodeResult]
    reports: Sequence[NodeReport]
    working: str  # hosts of the nodes that have a worker
    options: Options
    timeout: float

    def failure(self, name: str) -> Finding | None:
        """Report the nodes that failed for what a check is about."""
        found = [r for r in self.results if r.row.cause and check_of(r) == name]
        if not found:
            return None
        lines, advice = split_hints(found[0].explanation)
        quoted = next((n for n, line in enumerate(lines) if line.startswith("|")), 0)
        if quoted and name != "nodes":  # the cause is known without the log
            lines = lines[: quoted - 1]  # without its heading, too
        if Cause(found[0].row.cause) not in CHECK_OF_CAUSE:
            advice = ADVICE.get(name, advice)
        sentence = f"{hosts(found)}: {found[0].row.cause}"
        if name == "directory there":
            given = (self.options.shared_directory, self.options.log_directory)
            names = " or ".join(str(directory) for directory in given if directory)
            sentence += f"; {names} is not shared with it, or not writable there"
        return failed(sentence, advice, *lines)

    def waiting(self) -> Finding | None:
        queued = [r for r in self.results if r.row.state is NodeState.QUEUED]
        if queued:
            make = warned if len(queued) < len(self.results) else failed
            return make(
                f"{len(queued)} of {len(self.results)} nodes did not connect in"
                f" {format_duration(self.timeout)} and were deleted",
                "wait for longer with --timeout, or ask for less (--cores, --memory,"
                " --walltime); if the grid shows that they ran, their"
                " job_script_prologue or Python hangs, perhaps on a file server",
                *split_hints(queued[0].explanation)[0][1:],
            )
        waits = [
            r.row.arrived - r.row.submitted
            for r in self.results
            if r.row.arrived is not None
        ]
        return passed(f"nodes started after {span(waits)}") if waits else None

    def nodes(self) -> Finding | None:
        starting = (NodeState.ARRIVED, NodeState.IMPORTING)
        if hanging := [r for r in self.results if r.row.state in starting]:
            return failed(
                f"{hosts(hanging)}: connected, but the worker does not start",
                "log in there: a file server may hang",
                *split_hints(hanging[0].explanation)[0],
            )
        if broken := [r for r in self.results if r.error]:
            return failed(f"{hosts(broken)}: {broken[0].error}", "")
        if not self.reports:
            return None
        threads = min(report.threads for report in self.reports)
        limits = [report.memory_limit for report in self.reports if report.memory_limit]
        files = min(report.open_files for report in self.reports)
        sentence = (
            f"{len(self.reports)} on {self.working}, {plural(threads, 'thread')} each,"
            f" {format_size(min(limits)) if limits else 'no'} memory limit,"
            f" {files} open files"
        )
        if files >= FEW_FILES:
            return passed(sentence)
        return warned(
            sentence,
            "ask your admins to raise the limit of open files (ulimit -n): a worker"
            " needs one for each other worker",
        )

    def directory(self) -> Finding | None:
        shared, working = self.options.shared_directory, self.working
        return passed(f"{shared} is shared with {working}") if working else None

    def python(self) -> Finding | None:
        found = sorted({report.python for report in self.reports})
        if len(found) > 1:
            sentence = f"nodes run different Pythons: {', '.join(found)}"
            return warned(sentence, ADVICE["python"])
        return passed(f"{found[0]} on {self.working}") if found else None

    def versions(self) -> Finding | None:
        ours = ", ".join(f"{package} {v}" for package, v in versions().items())
        return passed(f"equal on all nodes: {ours}") if self.working else None

    def addresses(self) -> Finding | None:
        used = ", ".join(sorted({report.scheduler for report in self.reports}))
        return passed(f"{self.working} reached this host at {used}") if used else None

    def worker_ports(self) -> Finding | None:
        if cut := [r for r in self.results if r.answer not in ("", CONNECTED)]:
            return failed(
                f"{hosts(cut)}: the worker is not reachable from here: {cut[0].answer};"
                " results cannot be fetched",
                ADVICE["worker ports"],
            )
        if cut := [r for r in self.results if r.report and r.report.unreachable]:
            return failed(
                f"{hosts(cut)}: no connection to other workers; data cannot be moved",
                ADVICE["worker ports"],
                *(f"{a}: {t}" for r in self.reports for a, t in r.unreachable.items()),
            )
        if not self.working:
            return None
        return passed(f"{self.working}: reachable from here and from each other")

    def imports(self) -> Finding | None:
        times = [
            r.row.working - r.row.arrived
            for r in self.results
            if r.row.working is not None and r.row.arrived is not None
        ]
        if not times:
            return None
        sentence = f"{span(times)} to import Dask and start the worker"
        if max(times) <= SLOW_START:
            return passed(sentence)
        return warned(
            sentence,
            "put the environment on a faster file server or on the hosts' own disks;"
            " with processes= several workers share one import",
        )

    def scratch(self) -> Finding | None:
        found = [(report.host, report.scratch) for report in self.reports]
        if not found:
            return None
        for host, scratch in found:
            if scratch.error:
                sentence = f"{host} cannot write to {scratch.directory}"
                return failed(f"{sentence}: {scratch.error}", ADVICE["scratch"])
        fullest, tight = min(found, key=lambda pair: pair[1].free)
        slowest, slow = min(found, key=lambda pair: pair[1].speed)
        sentence = (
            f"{tight.directory}: at least {format_size(tight.free)} free,"
            f" {format_size(slow.speed)}/s"
        )
        if tight.free < LITTLE_ROOM:
            return warned(f"little room on {fullest}: {sentence}", ADVICE["scratch"])
        if slow.speed < SLOW_DISK:
            return warned(f"slow on {slowest}: {sentence}", ADVICE["scratch"])
        return passed(sentence)

    def clock(self) -> Finding | None:
        known = [r for r in self.results if r.report is not None]
        if not known:
            return None
        worst = max(known, key=lambda result: abs(result.ahead))
        off = format_duration(abs(worst.ahead))
        accuracy = f"measured to within {format_duration(worst.accuracy)}"
        if abs(worst.ahead) <= WRONG_CLOCK + worst.accuracy:
            return passed(f"at most {off} off, {accuracy}")
        return warned(
            f"the clock of {worst.place} is {off}"
            f" {'ahead of' if worst.ahead > 0 else 'behind'} the clock of this host:"
            " times in logs and of files do not agree",
            ADVICE["clock"],
            accuracy,
        )


#: All checks, in the order of a node's start.
CHECKS = {
    "waiting": _NodeChecks.waiting,
    "nodes": _NodeChecks.nodes,
    "directory there": _NodeChecks.directory,
    "python": _NodeChecks.python,
    "versions": _NodeChecks.versions,
    "addresses": _NodeChecks.addresses,
    "worker ports": _NodeChecks.worker_ports,
    "import of dask": _NodeChecks.imports,
    "scratch": _NodeChecks.scratch,
    "clock": _NodeChecks.clock,
}


def check_of(result: NodeResult) -> str:
    """Return the name of the check that a failed node belongs to."""
    if name := CHECK_OF_CAUSE.get(Cause(result.row.cause)):
        return name
    found = (n for text, n in CHECK_OF_TEXT.items() if text in result.explanation)
    return next(found, "nodes")


def hosts(results: Iterable[NodeResult]) -> str:
    """List the hosts of these nodes, each once: "node1 and node2"."""
    *first, last = sorted({result.place for result in results}) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def span(seconds: Sequence[float]) -> str:
    """Format the least and the most of some times.

    Examples
    --------
    >>> span([0.123]), span([0.1, 2.25])
    ('0.12 s', '0.1 s to 2.2 s')
    """
    return " to ".join(
        dict.fromkeys(map(format_duration, (min(seconds), max(seconds))))
    )
