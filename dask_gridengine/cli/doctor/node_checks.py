"""Findings about the nodes of the trial cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dask.utils import format_bytes

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
NO_REPORT = "no node reported"

#: The check that a failed node's cause belongs to; all others belong to "nodes".
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
#: Text in the log of a node whose cause is more general than that.
CHECK_OF_LOG = {
    "certificate is not yet valid": "clock",
    "certificate has expired": "clock",
    "No space left on device": "scratch",
    "Disk quota exceeded": "scratch",
    "No module named": "python",
}


@dataclass(frozen=True, kw_only=True)
class NodeChecks:
    """Makes a finding of each kind from the results of all nodes."""

    results: Sequence[NodeResult]
    options: Options
    timeout: float  # seconds that nodes could queue
    running: Mapping[int, str]  # queue instances of array tasks that the grid runs

    @property
    def all(self) -> dict[str, Callable[[], Finding]]:
        """The checks by name, in the order of a node's start."""
        return {
            "waiting": self.waiting,
            "nodes": self.nodes,
            "directory there": self.directory,
            "python": self.python,
            "versions": self.versions,
            "addresses": self.addresses,
            "way back": self.way_back,
            "import of dask": self.imports,
            "scratch": self.scratch,
            "clock": self.clock,
        }

    @property
    def _reports(self) -> list[NodeReport]:
        return [r.report for r in self.results if r.report is not None]

    @property
    def _working(self) -> str:
        return hosts(r for r in self.results if r.answer)

    def _failure(self, name: str, also: str = "", advice: str = "") -> Finding | None:
        """Report the nodes that failed for what this check is about."""
        found = [r for r in self.results if r.row.cause and check_of(r) == name]
        if not found:
            return None
        lines, hint = split_hints(found[0].explanation)
        if name != "nodes":
            lines = _without_log(lines)
        if Cause(found[0].row.cause) in CHECK_OF_CAUSE:
            advice = hint  # else only the log has the cause
        sentence = f"{hosts(found)}: {found[0].row.cause}"
        return failed(name, f"{sentence}{also}", advice or hint, *lines)

    def waiting(self) -> Finding:
        """Check how long the nodes queued."""
        name = "waiting"
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
            return self._still_queued(queued)
        waits = [
            r.row.arrived - r.row.submitted
            for r in self.results
            if r.row.arrived is not None
        ]
        if not waits:
            return skipped(name, "the nodes ended before they connected")
        sentence = f"nodes started after {seconds_of(waits)}"
        if max(waits) > SLOW_QUEUE:
            return warned(
                name,
                sentence,
                "adapt() with minimum_jobs= and place_grace= keeps places in the queue;"
                " nodes with a shorter walltime may start earlier",
            )
        return passed(name, sentence)

    def _still_queued(self, queued: Sequence[NodeResult]) -> Finding:
        reasons = split_hints(queued[0].explanation)[0][1:]
        started = len(self.results) - len(queued)
        if started:
            return warned(
                "waiting",
                f"{started} of {len(self.results)} nodes started in {self.timeout:g} s",
                "wait for longer with --timeout",
                *reasons,
            )
        return failed(
            "waiting",
            f"no node started in {self.timeout:g} s; they were deleted from the queue",
            "wait for longer with --timeout, or ask for less (--cores, --memory,"
            " --walltime)",
            *reasons,
        )

    def nodes(self) -> Finding:
        """Check that the nodes became workers, and what they were given."""
        if failure := self._failure("nodes"):
            return failure
        starting = (NodeState.ARRIVED, NodeState.IMPORTING)
        if hanging := [r for r in self.results if r.row.state in starting]:
            return failed(
                "nodes",
                f"{hosts(hanging)}: connected, but the worker does not start",
                "log in there: a file server may hang",
                *split_hints(hanging[0].explanation)[0],
            )
        if broken := [r for r in self.results if r.error]:
            return failed("nodes", f"{hosts(broken)}: {broken[0].error}", "")
        if not self._reports:
            return skipped("nodes", "no node became a worker")
        threads = min(report.threads for report in self._reports)
        limits = [r.memory_limit for r in self._reports if r.memory_limit]
        files = min(report.open_files for report in self._reports)
        plural = "s" if threads > 1 else ""
        sentence = (
            f"{len(self._reports)} on {self._working}, {threads} thread{plural} each,"
            f" {format_bytes(min(limits)) if limits else 'no'} memory limit,"
            f" {files} open files"
        )
        if files < FEW_FILES:
            return warned(
                "nodes",
                sentence,
                "ask your admins to raise the limit of open files (ulimit -n): a"
                " worker needs one for each other worker",
            )
        return passed("nodes", sentence)

    def directory(self) -> Finding:
        """Check that the nodes see the shared directory."""
        name, shared = "directory there", self.options.shared_directory
        logs = self.options.log_directory
        places = f"{shared} or {logs}" if logs else f"{shared}"
        also = f"; {places} is not shared with it, or not writable there"
        if failure := self._failure(name, also):
            return failure
        if not self._working:
            return skipped(name, NO_REPORT)
        return passed(name, f"{shared} is shared with {self._working}")

    def python(self) -> Finding:
        """Check the Python of the nodes."""
        advice = "--python (option python): one that has this environment on each node"
        if failure := self._failure("python", advice=advice):
            return failure
        found = sorted({report.python for report in self._reports})
        if not found:
            return skipped("python", NO_REPORT)
        if len(found) > 1:
            return warned(
                "python",
                f"nodes run different Pythons: {', '.join(found)}",
                advice,
            )
        return passed("python", f"{found[0]} on {self._working}")

    def versions(self) -> Finding:
        """Check that the nodes have the versions of this host."""
        if failure := self._failure("versions"):
            return failure
        if not self._working:
            return skipped("versions", NO_REPORT)
        ours = ", ".join(f"{name} {version}" for name, version in versions().items())
        return passed("versions", f"the same on all nodes: {ours}")

    def addresses(self) -> Finding:
        """Check that the nodes reach this host, and by which address."""
        if failure := self._failure("addresses"):
            return failure
        used = sorted({report.scheduler for report in self._reports})
        if not used:
            return skipped("addresses", NO_REPORT)
        return passed(
            "addresses",
            f"{self._working} reached this host at {', '.join(used)}",
            settings=self._better_host(used),
        )

    def _better_host(self, used: Sequence[str]) -> list[Setting]:
        """Recommend ``host`` where nodes do not reach the first address offered."""
        options = self.options
        chosen = options.host or options.interface or options.contact_address
        reached = {split(address.partition("://")[2])[0] for address in used}
        offered = [] if chosen or options.bootstrap_contact_address else plausible()
        if len(reached) != 1 or not reached < {*offered} or offered[0] in reached:
            return []
        reason = f"nodes reach this address, and not {offered[0]}"
        return [Setting(key="host", value=reached.pop(), reason=reason)]

    def way_back(self) -> Finding:
        """Check that workers are reachable from here and from each other."""
        name = "way back"
        if failure := self._failure(name):
            return failure
        advice = (
            "in the nodes' firewall open a range of ports and name it with worker_port;"
            " worker_interface selects another network"
        )
        if cut := [r for r in self.results if r.answer not in ("", CONNECTED)]:
            return failed(
                name,
                f"{hosts(cut)}: the worker is not reachable from here: {cut[0].answer};"
                " results cannot be fetched",
                advice,
            )
        if cut := [r for r in self.results if r.report and r.report.unreachable]:
            evidence = [
                f"{address}: {answer}"
                for result in cut
                if result.report
                for address, answer in result.report.unreachable.items()
            ]
            return failed(
                name,
                f"{hosts(cut)}: no connection to the other workers; data cannot be"
                " moved between them",
                advice,
                *evidence,
            )
        if not self._working:
            return skipped(name, NO_REPORT)
        return passed(name, f"{self._working}: reachable from here and from each other")

    def imports(self) -> Finding:
        """Check how long nodes take from their arrival to their worker."""
        name = "import of dask"
        times = [
            r.row.working - r.row.arrived
            for r in self.results
            if r.row.working is not None and r.row.arrived is not None
        ]
        if not times:
            return skipped(name, NO_REPORT)
        sentence = f"{seconds_of(times)} to import Dask and start the worker"
        if max(times) > SLOW_START:
            return warned(
                name,
                sentence,
                "put the environment on a faster file server or on the hosts' own"
                " disks; with processes= several workers share one import",
            )
        return passed(name, sentence)

    def scratch(self) -> Finding:
        """Check room and speed of the scratch directories."""
        advice = (
            "local_directory: one with room on every host; the default is the job's"
            " TMPDIR, which the queue's tmpdir sets"
        )
        if failure := self._failure("scratch", advice=advice):
            return failure
        found = [(report.host, report.scratch) for report in self._reports]
        if not found:
            return skipped("scratch", NO_REPORT)
        for host, scratch in found:
            if scratch.error:
                return failed(
                    "scratch",
                    f"{host} cannot write to {scratch.directory}: {scratch.error}",
                    advice,
                )
        fullest, tight = min(found, key=lambda pair: pair[1].free)
        slowest, slow = min(found, key=lambda pair: pair[1].speed)
        sentence = (
            f"{tight.directory}: at least {format_bytes(tight.free)} free,"
            f" {format_bytes(int(slow.speed))}/s"
        )
        if tight.free < LITTLE_ROOM:
            return warned("scratch", f"little room on {fullest}: {sentence}", advice)
        if slow.speed < SLOW_DISK:
            return warned("scratch", f"slow on {slowest}: {sentence}", advice)
        return passed("scratch", sentence)

    def clock(self) -> Finding:
        """Check that the clocks agree."""
        advice = "tell the admins of that host that its clock is wrong (chronyd, ntpd)"
        also = f"; its clock is more than {BACKDATED.days} day off: for it TLS"
        if failure := self._failure(
            "clock", f"{also} certificates are not valid", advice
        ):
            return failure
        known = [r for r in self.results if r.report is not None]
        if not known:
            return skipped("clock", NO_REPORT)
        worst = max(known, key=lambda result: abs(result.ahead))
        off = duration(abs(worst.ahead))
        accuracy = f"measured to within {duration(worst.accuracy)}"
        if abs(worst.ahead) > WRONG_CLOCK + worst.accuracy:
            way = "ahead of" if worst.ahead > 0 else "behind"
            return warned(
                "clock",
                f"the clock of {worst.place} is {off} {way} the clock of this host:"
                " times in logs and of files do not agree",
                advice,
                accuracy,
            )
        return passed("clock", f"at most {off} off, {accuracy}")


def check_of(result: NodeResult) -> str:
    """Return the name of the check that a failed node belongs to."""
    if name := CHECK_OF_CAUSE.get(Cause(result.row.cause)):
        return name
    found = (n for text, n in CHECK_OF_LOG.items() if text in result.explanation)
    return next(found, "nodes")


def _without_log(lines: list[str]) -> list[str]:
    """Cut the quoted lines of the log, and the line that introduces them."""
    quoted = next((n for n, line in enumerate(lines) if line.startswith("|")), 0)
    return lines[: quoted - 1] if quoted else lines


def hosts(results: Iterable[NodeResult]) -> str:
    """List the hosts of these nodes, each once: "node1 and node2"."""
    *first, last = sorted({result.place for result in results}) or [""]
    return f"{', '.join(first)} and {last}" if first else last


def seconds_of(values: Sequence[float]) -> str:
    """Format one number, or a range.

    Examples
    --------
    >>> seconds_of([0.123]), seconds_of([0.1, 2.25])
    ('0.12 s', '0.1 to 2.2 s')
    """
    least, most = f"{min(values):.2g}", f"{max(values):.2g}"
    return f"{most} s" if least == most else f"{least} to {most} s"


def duration(seconds: float) -> str:
    """Format the difference of a clock.

    Examples
    --------
    >>> duration(0.0002), duration(3600), duration(3 * 86400)
    ('less than 1 ms', '60 min', '3.0 days')
    """
    if seconds < 0.001:
        return "less than 1 ms"
    if seconds < 120:
        return f"{seconds:.2g} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 86400:.1f} days"
