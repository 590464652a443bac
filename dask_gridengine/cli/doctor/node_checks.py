"""Findings about the nodes of the trial cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dask.utils import format_bytes, format_time

from dask_gridengine.bootstrap.certificates import BACKDATED
from dask_gridengine.cli.doctor.finding import (
    Finding,
    Setting,
    failed,
    passed,
    skipped,
    split_hints,
    warned,
)
from dask_gridengine.cli.doctor.node_report import NodeReport
from dask_gridengine.cli.doctor.trial import NodeResult
from dask_gridengine.exit_causes import Cause
from dask_gridengine.net.addresses import plausible, split
from dask_gridengine.net.connect_probe import CONNECTED
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.options import Options
from dask_gridengine.worker.job_resources import versions

SLOW_QUEUE = 120.0  # seconds in the queue; adaptive scaling reacts so late
SLOW_START = 10.0  # seconds from a node's arrival to its worker; usual are one or two
LITTLE_ROOM = 1e9  # bytes, for workers to spill to
SLOW_DISK = 20e6  # bytes a second; a network does ten times that
WRONG_CLOCK = 5.0  # seconds
FEW_FILES = 1024  # a worker has a connection to each other worker

#: All checks, in the order of a node's start.
CHECKS = (
    "waiting",
    "nodes",
    "directory there",
    "python",
    "versions",
    "addresses",
    "way back",
    "import of dask",
    "scratch",
    "clock",
)
#: The check that fails for the cause of a failed node; "nodes" for all others.
CHECK_OF_CAUSE = {
    Cause.NO_LOG: "directory there",
    Cause.UNREADABLE: "directory there",
    Cause.NO_PYTHON: "python",
    Cause.NO_IMPORT: "python",
    Cause.VERSIONS: "versions",
    Cause.UNREACHABLE: "addresses",
    Cause.NO_SCHEDULER: "addresses",
    Cause.NO_LISTEN: "way back",
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
    "way back": "in the nodes' firewall open a range of ports and name it with"
    " worker_port; worker_interface selects another network",
    "scratch": "local_directory: one with room on every host; the default is the job's"
    " TMPDIR, which the queue's tmpdir sets",
    "clock": "tell the admins of that host that its clock is wrong (chronyd, ntpd)",
}


@dataclass(frozen=True, kw_only=True)
class NodeChecks:
    """Makes findings from the results of all nodes."""

    results: Sequence[NodeResult]
    options: Options
    timeout: float  # seconds that nodes could queue
    running: Mapping[int, str]  # queue instances of array tasks that the grid runs

    def findings(self) -> Iterator[Finding]:
        """Make each of `CHECKS`; skip those about which no node reported."""
        checks = (
            self._waiting,
            self._nodes,
            self._directory,
            self._python,
            self._versions,
            self._addresses,
            self._way_back,
            self._imports,
            self._scratch,
            self._clock,
        )
        for name, check in zip(CHECKS, checks, strict=True):
            failure = self._failure(name)
            yield failure or check(name) or skipped(name, "no node reported")

    @property
    def _reports(self) -> list[NodeReport]:
        return [r.report for r in self.results if r.report is not None]

    @property
    def _working(self) -> str:
        return hosts(r for r in self.results if r.answer)

    def _failure(self, name: str) -> Finding | None:
        """Report the nodes that failed for what a check is about."""
        found = [r for r in self.results if r.row.cause and check_of(r) == name]
        if not found:
            return None
        lines, advice = split_hints(found[0].explanation)
        if name != "nodes":
            lines = _without_log(lines)
        if Cause(found[0].row.cause) not in CHECK_OF_CAUSE:
            advice = ADVICE.get(name, advice)
        sentence = f"{hosts(found)}: {found[0].row.cause}{self._meaning(name)}"
        return failed(name, sentence, advice, *lines)

    def _meaning(self, name: str) -> str:
        if name == "clock":
            days = f"{BACKDATED.days} day"
            return f"; its clock is more than {days} off: no TLS certificate is valid"
        if name != "directory there":
            return ""
        given = (self.options.shared_directory, self.options.log_directory)
        names = " or ".join(str(directory) for directory in given if directory)
        return f"; {names} is not shared with it, or not writable there"

    def _waiting(self, name: str) -> Finding | None:
        queued = [r for r in self.results if r.row.state is NodeState.QUEUED]
        if hung := [i for r in queued if (i := self.running.get(r.row.id.index))]:
            return failed(
                name,
                f"Grid Engine has started nodes on {', '.join(sorted(hung))}, but they"
                f" did not connect in {self.timeout:g} s",
                "their job_script_prologue or Python hangs, perhaps on a file server:"
                " log in there and start the nodes' Python by hand",
            )
        if queued:
            make = warned if len(queued) < len(self.results) else failed
            return make(
                name,
                f"{len(queued)} of {len(self.results)} nodes did not start in"
                f" {self.timeout:g} s and were deleted",
                "wait for longer with --timeout, or ask for less (--cores, --memory,"
                " --walltime)",
                *split_hints(queued[0].explanation)[0][1:],
            )
        waits = [
            r.row.arrived - r.row.submitted
            for r in self.results
            if r.row.arrived is not None
        ]
        if waits and max(waits) > SLOW_QUEUE:
            return warned(
                name,
                f"nodes started after {span(waits)}",
                "adapt() with minimum_jobs= keeps nodes; nodes with a shorter walltime"
                " may start earlier",
            )
        return passed(name, f"nodes started after {span(waits)}") if waits else None

    def _nodes(self, name: str) -> Finding | None:
        starting = (NodeState.ARRIVED, NodeState.IMPORTING)
        if hanging := [r for r in self.results if r.row.state in starting]:
            return failed(
                name,
                f"{hosts(hanging)}: connected, but the worker does not start",
                "log in there: a file server may hang",
                *split_hints(hanging[0].explanation)[0],
            )
        if broken := [r for r in self.results if r.error]:
            return failed(name, f"{hosts(broken)}: {broken[0].error}", "")
        reports = self._reports
        if not reports:
            return None
        threads = min(report.threads for report in reports)
        limits = [report.memory_limit for report in reports if report.memory_limit]
        files = min(report.open_files for report in reports)
        sentence = (
            f"{len(reports)} on {self._working}, {threads} thread"
            f"{'s' if threads > 1 else ''} each,"
            f" {format_bytes(min(limits)) if limits else 'no'} memory limit,"
            f" {files} open files"
        )
        if files >= FEW_FILES:
            return passed(name, sentence)
        return warned(
            name,
            sentence,
            "ask your admins to raise the limit of open files (ulimit -n): a worker"
            " needs one for each other worker",
        )

    def _directory(self, name: str) -> Finding | None:
        shared, working = self.options.shared_directory, self._working
        return passed(name, f"{shared} is shared with {working}") if working else None

    def _python(self, name: str) -> Finding | None:
        found = sorted({report.python for report in self._reports})
        if len(found) > 1:
            sentence = f"nodes run different Pythons: {', '.join(found)}"
            return warned(name, sentence, ADVICE[name])
        return passed(name, f"{found[0]} on {self._working}") if found else None

    def _versions(self, name: str) -> Finding | None:
        ours = ", ".join(f"{package} {v}" for package, v in versions().items())
        return passed(name, f"equal on all nodes: {ours}") if self._working else None

    def _addresses(self, name: str) -> Finding | None:
        used = sorted({report.scheduler for report in self._reports})
        if not used:
            return None
        sentence = f"{self._working} reached this host at {', '.join(used)}"
        return passed(name, sentence, settings=self._better_host(used))

    def _better_host(self, used: Sequence[str]) -> list[Setting]:
        """Recommend ``host`` where nodes do not reach the first address offered."""
        options = self.options
        reached = {split(address.partition("://")[2])[0] for address in used}
        if options.host or options.interface or options.contact_address:
            return []
        offered = plausible()
        if len(reached) != 1 or not reached < {*offered} or offered[0] in reached:
            return []
        reason = f"nodes reach this address, and not {offered[0]}"
        return [Setting(key="host", value=reached.pop(), reason=reason)]

    def _way_back(self, name: str) -> Finding | None:
        if cut := [r for r in self.results if r.answer not in ("", CONNECTED)]:
            return failed(
                name,
                f"{hosts(cut)}: the worker is not reachable from here: {cut[0].answer};"
                " results cannot be fetched",
                ADVICE[name],
            )
        if cut := [r for r in self.results if r.report and r.report.unreachable]:
            return failed(
                name,
                f"{hosts(cut)}: no connection to other workers; data cannot be moved",
                ADVICE[name],
                *(f"{a}: {t}" for r in self._reports for a, t in r.unreachable.items()),
            )
        if not self._working:
            return None
        return passed(name, f"{self._working}: reachable from here and from each other")

    def _imports(self, name: str) -> Finding | None:
        times = [
            r.row.working - r.row.arrived
            for r in self.results
            if r.row.working is not None and r.row.arrived is not None
        ]
        if not times:
            return None
        sentence = f"{span(times)} to import Dask and start the worker"
        if max(times) <= SLOW_START:
            return passed(name, sentence)
        return warned(
            name,
            sentence,
            "put the environment on a faster file server or on the hosts' own disks;"
            " with processes= several workers share one import",
        )

    def _scratch(self, name: str) -> Finding | None:
        found = [(report.host, report.scratch) for report in self._reports]
        if not found:
            return None
        for host, scratch in found:
            if scratch.error:
                sentence = f"{host} cannot write to {scratch.directory}"
                return failed(name, f"{sentence}: {scratch.error}", ADVICE[name])
        fullest, tight = min(found, key=lambda pair: pair[1].free)
        slowest, slow = min(found, key=lambda pair: pair[1].speed)
        sentence = (
            f"{tight.directory}: at least {format_bytes(tight.free)} free,"
            f" {format_bytes(int(slow.speed))}/s"
        )
        if tight.free < LITTLE_ROOM:
            return warned(name, f"little room on {fullest}: {sentence}", ADVICE[name])
        if slow.speed < SLOW_DISK:
            return warned(name, f"slow on {slowest}: {sentence}", ADVICE[name])
        return passed(name, sentence)

    def _clock(self, name: str) -> Finding | None:
        known = [r for r in self.results if r.report is not None]
        if not known:
            return None
        worst = max(known, key=lambda result: abs(result.ahead))
        off = format_time(abs(worst.ahead))
        accuracy = f"measured to within {format_time(worst.accuracy)}"
        if abs(worst.ahead) <= WRONG_CLOCK + worst.accuracy:
            return passed(name, f"at most {off} off, {accuracy}")
        return warned(
            name,
            f"the clock of {worst.place} is {off}"
            f" {'ahead of' if worst.ahead > 0 else 'behind'} the clock of this host:"
            " times in logs and of files do not agree",
            ADVICE[name],
            accuracy,
        )


def check_of(result: NodeResult) -> str:
    """Return the name of the check that a failed node belongs to."""
    if name := CHECK_OF_CAUSE.get(Cause(result.row.cause)):
        return name
    found = (n for text, n in CHECK_OF_TEXT.items() if text in result.explanation)
    return next(found, "nodes")


def _without_log(lines: list[str]) -> list[str]:
    """Cut the quoted lines of the log, and the line that introduces them."""
    quoted = next((n for n, line in enumerate(lines) if line.startswith("|")), 0)
    return lines[: quoted - 1] if quoted else lines


def hosts(results: Iterable[NodeResult]) -> str:
    """List the hosts of these nodes, each once: "node1 and node2"."""
    *first, last = sorted({result.place for result in results}) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def span(seconds: Sequence[float]) -> str:
    """Format the least and the most of some times.

    Examples
    --------
    >>> span([0.123]), span([0.1, 2.25])
    ('123.00 ms', '100.00 ms to 2.25 s')
    """
    return " to ".join(dict.fromkeys(map(format_time, (min(seconds), max(seconds)))))
