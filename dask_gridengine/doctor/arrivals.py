"""Findings of a probe: did nodes start, see our directory, and run the right Python?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dask_gridengine.bootstrap.messages import version_mismatch
from dask_gridengine.doctor.finding import Finding, failed, passed, skipped, warned
from dask_gridengine.doctor.outcome import Outcome, places, spread
from dask_gridengine.doctor.standing import Standing
from dask_gridengine.exit_causes import BY_STATUS, Cause
from dask_gridengine.options import Options

HERALD = "herald\t"  # begins the line in which `herald` tells what it met
SLOW_SECONDS = 120.0  # in the queue, and adaptive scaling will feel it
UNSEEN = (Cause.UNREADABLE, Cause.UNREACHABLE)


def cause_of(outcome: Outcome) -> Cause | None:
    """What the exit status of one that did not finish says; None if nothing."""
    if outcome.done or outcome.end is None or outcome.end.exit_status is None:
        return None
    return BY_STATUS.get(outcome.end.exit_status)


def waiting(outcomes: Sequence[Outcome], timeout: float, standing: Standing) -> Finding:
    """How long the nodes queued, and why those still do that have not come."""
    started = [o for o in outcomes if o.waited is not None or o.end is not None]
    if silent := [o for o in outcomes if o not in started]:
        hung = [standing.running.get(o.node.index, "") for o in silent]
        if any(hung):
            return _hanging(sorted(filter(None, hung)), timeout)
        return _still_waiting(len(started), len(outcomes), timeout, standing)
    waits = [o.waited for o in started if o.waited is not None]
    if not waits:
        return skipped("waiting", "the nodes ended before they could tell")
    said = f"nodes waited for {spread(waits)} in the queue"
    if max(waits) > SLOW_SECONDS:
        return warned(
            "waiting",
            said,
            "adapt() with minimum_jobs= keeps places; with a shorter walltime nodes"
            " may come earlier",
        )
    return passed("waiting", said)


def _hanging(where: list[str], timeout: float) -> Finding:
    return failed(
        "waiting",
        f"Grid Engine has started nodes on {', '.join(where)} that were not heard of in"
        f" {timeout:g} s: their prologue or Python hangs, on a file server perhaps",
        "log in there and start the nodes' Python by hand",
    )


def _still_waiting(
    started: int, count: int, timeout: float, standing: Standing
) -> Finding:
    if started:
        return warned(
            "waiting",
            f"{started} of {count} nodes started in {timeout:g} s",
            "the grid is full, or has few places for such nodes: --timeout waits for"
            " longer",
            *standing.reasons,
        )
    return failed(
        "waiting",
        f"no node started in {timeout:g} s; they were deleted from the queue",
        "wait for longer with --timeout, ask for less (--cores, --memory, --walltime),"
        " or see what is before you in the queue",
        *standing.reasons,
    )


def nodes(outcomes: Sequence[Outcome], job: str) -> Finding:
    """Whether those that started came to their end."""
    started = [o for o in outcomes if o.over or o.report is not None]
    if not started:
        return skipped("nodes", "because of: waiting")
    for bad in started:
        told = cause_of(bad) in (*UNSEEN, Cause.NO_PYTHON, Cause.NO_IMPORT)
        if bad.done or told:
            continue
        return _ended(bad, job)
    where = places(started)
    slots = {o.report.slots for o in started if o.report is not None}
    limits = [o.report.memory for o in started if o.report and o.report.memory]
    said = f"{len(started)} on {where}" if where else f"{len(started)} started"
    if len(slots) == 1:
        said += f", {slots.pop()} slots each" if slots != {1} else ", 1 slot each"
    if limits:
        said += f", memory limited to {min(limits) / 1e9:.2g} GB"
    return passed("nodes", said)


def _ended(bad: Outcome, job: str) -> Finding:
    where = bad.host or f"node {bad.node}"
    step = bad.report.step if bad.report is not None else ""
    at = f" at: {step}" if step else ""
    if bad.end is None:
        return failed(
            "nodes",
            f"{where} started and hangs{at}",
            "something there does not answer, a file server perhaps",
        )
    if bad.end.signal == "SIGALRM":
        return failed(
            "nodes",
            f"{where} was too slow{at}",
            "something there hangs, a file server perhaps: try that by hand",
            *bad.words,
        )
    account = bad.account
    words = [f"accounting: {account.failed}"] if account and account.failed else []
    return failed(
        "nodes",
        f"the node on {where} {bad.end}{at}",
        f"the grid's accounting of job {job} may say more; killed nodes may have met a"
        " limit of memory or time",
        *words,
        *bad.words,
    )


def directory(outcomes: Sequence[Outcome], options: Options) -> Finding:
    """Whether the nodes see the shared directory."""
    name = "directory there"
    blind = [o for o in outcomes if cause_of(o) in UNSEEN]
    if blind:
        return failed(
            name,
            f"{places(blind)} cannot read {options.shared_directory}: it is not shared"
            " with this host, or may not be entered there",
            "--shared-directory (option shared_directory): one on a file system that"
            " the nodes see, too, of the group or project perhaps",
        )
    told = [o for o in outcomes if o.report is not None]
    if wrong := [o for o in told if o.report and o.report.connection]:
        assert wrong[0].report is not None
        return failed(
            name,
            f"{places(wrong)}: {wrong[0].report.connection}",
            "--shared-directory (option shared_directory): one on a file system that"
            " the nodes see, with its permissions",
        )
    if not told:
        return skipped(name, "no node has told")
    return passed(name, f"{options.shared_directory} is seen by {places(told)}")


def python(outcomes: Sequence[Outcome], options: Options) -> Finding:
    """Which Python ran, and whether it is any use."""
    advice = (
        "--python (option python): one that every node has, in the same environment;"
        " job_script_prologue may load a module first"
    )
    if lost := [o for o in outcomes if cause_of(o) is Cause.NO_PYTHON]:
        return failed(
            "python",
            f"{places(lost)}: there is no {options.python}",
            advice,
            *lost[0].words,
        )
    if foreign := [o for o in outcomes if cause_of(o) is Cause.NO_IMPORT]:
        return _foreign(foreign, advice)
    told = [o for o in outcomes if o.report is not None]
    if not told:
        return skipped("python", "no node has told")
    found = {
        f"{o.report.versions.get('python', '?')} ({o.report.executable})"
        for o in told
        if o.report is not None
    }
    if len(found) > 1:
        return warned(
            "python",
            f"nodes run different Pythons: {', '.join(sorted(found))}",
            advice,
        )
    return passed("python", f"{found.pop()} on {places(told)}")


def _foreign(foreign: Sequence[Outcome], advice: str) -> Finding:
    lines = [line for o in foreign for line in o.words]
    words = [line.split("\t") for line in lines if line.startswith(HERALD)]
    if not words or len(words[0]) < 5:
        return failed(
            "python", f"{places(foreign)}: Python cannot import dask_gridengine", advice
        )
    _, host, executable, version, why = words[0][:5]
    return failed(
        "python",
        f"{host} runs another Python, {version} ({executable}), and that cannot import"
        " dask_gridengine",
        advice,
        why,
    )


def versions(outcomes: Sequence[Outcome], ours: Mapping[str, str]) -> Finding:
    """Whether the nodes have what the door of a cluster demands."""
    told = [o for o in outcomes if o.report is not None]
    for outcome in told:
        assert outcome.report is not None
        if wrong := version_mismatch(ours, outcome.report.versions):
            return failed(
                "versions",
                f"{outcome.host}: {wrong.replace('the cluster', 'this host')}",
                "install the same versions there, or point --python (option python) at"
                " this very environment",
                f"its Python is {outcome.report.executable}",
            )
    if not told:
        return skipped("versions", "no node has told")
    said = ", ".join(f"{name} {version}" for name, version in ours.items())
    return passed("versions", f"the same there: {said}")
