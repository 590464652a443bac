"""Requests that are in force for an array, and why its nodes queue."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from dask_gridengine.batch.base import parse_time
from dask_gridengine.batch.commands import Runner, output_of, user_name
from dask_gridengine.batch.sge.qstat import (
    Instance,
    field,
    instances,
    job_states,
)
from dask_gridengine.batch.sge.submit_options import (
    hard_requests,
    requested_resources,
    resources_in,
    shortest_limit,
)
from dask_gridengine.grid_types import ArrayReport

#: Resources that choose hosts and queues. qstat may print another name than was
#: requested (h: hostname), and excluded hosts are our own request.
_HOST_NAMES = frozenset({"h", "hostname", "q", "qname"})
NAMED = 3  # queue instances that a reason names; the others are counted
#: Lines of "scheduling info" that contain no reason.
_NO_REASON = (
    "there are no messages available",
    "collecting of scheduler job information is turned off",
    "all queues dropped because of overload or full",
)
_DROPPED = re.compile(r'queue instance "([^"]+)" dropped because it is (.+)', re.I)
_QUOTA = re.compile(r'exceeds limit.* in rule "?([^"/\s]+)', re.I)
_INSTANCE = re.compile(r'(?:at host|in queue(?: instance)?) "[^"]+"', re.I)


def report(job: str, native: str, run: Runner) -> ArrayReport | None:
    """Return the report of an array with these submit options.

    Return None if qstat fails or does not know the job.
    """
    description = output_of(["qstat", "-j", job], run)
    if description is None:
        return None
    requests = resources_in(field(description, "hard resource list"))
    return ArrayReport(
        walltime=shortest_limit(requests),
        added=" ".join(added(native, description)),
        reasons=tuple(_reasons(job, description, run)),
    )


def added(native: str, description: str) -> list[str]:
    """Return requests in force that the submit options do not contain."""
    ours = requested_resources(native)
    requests = resources_in(field(description, "hard resource list"))
    resources = ",".join(
        f"{name}={value}" if value else name
        for name, value in requests.items()
        if name not in _HOST_NAMES and not _is_same(ours.get(name), value)
    )
    queues = field(description, "hard queue list")
    if any(hard_requests(native, ("-q",))):
        queues = ""
    options = (("-l", resources), ("-q", queues))
    return [f"{option} {value}" for option, value in options if value]


def _is_same(ours: str | None, value: str) -> bool:
    """Compare values; a time may be in seconds or h:m:s, and no value means TRUE."""
    if ours is None:
        return False
    first, second = ours or "TRUE", value or "TRUE"
    time = parse_time(first)
    return first.upper() == second.upper() or (
        time is not None and time == parse_time(second)
    )


def scheduling_info(description: str) -> list[str]:
    """Return the lines that ``qstat -j`` prints below "scheduling info:"."""
    _, *rest = re.split("scheduling[ _]info:", description, maxsplit=1, flags=re.I)
    lines = [line.strip() for line in "".join(rest).splitlines()]
    return [line for line in lines if line]


def _reasons(job: str, description: str, run: Runner) -> list[str]:
    info = scheduling_info(description)
    dropped = (_DROPPED.search(line) for line in info)
    # The states say more, unless all instances are full.
    needs_states = any(match and match[2] != "full" for match in dropped)
    known = instances(run) if needs_states else []
    found = list(why_queued(job, description, known))
    if found or [line.lower() for line in info[:1]] == [_NO_REASON[0]]:
        return found
    # Many sites have switched off these messages (schedd_job_info, man sched_conf).
    return list(_reasons_from_states(job, run))


def why_queued(job: str, description: str, known: Sequence[Instance]) -> Iterator[str]:
    """Yield one line for each kind of reason in the output of ``qstat -j``."""
    errors = list(_error_reasons(description))
    if errors:
        yield f"in error state: {errors[0]} (then: qmod -cj {job})"
    troubles = {f"{each.queue}@{each.host}": each.trouble for each in known}
    by_trouble: defaultdict[str, list[str]] = defaultdict(list)
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for line in scheduling_info(description):
        lower = line.lower()
        if any(text in lower for text in _NO_REASON):
            continue
        if dropped := _DROPPED.search(line):
            trouble = troubles.get(dropped[1]) or dropped[2].partition(":")[0]
            by_trouble[trouble].append(dropped[1])
        elif "in hold state" in lower:
            yield _on_hold(job)
        elif "in error state" in lower:
            if not errors:
                yield _in_error(job)
        elif quota := _QUOTA.search(line):
            yield f"resource quota {quota[1]}: {line} (see: qconf -srqs {quota[1]})"
        else:
            alike[_INSTANCE.sub("", line)].append(line)
    yield from _instance_reasons(by_trouble)
    for lines in alike.values():
        more = f" (and {len(lines) - 1} more like this)" if len(lines) > 1 else ""
        yield f"no suitable queue: {lines[0]}{more}"


def _error_reasons(description: str) -> list[str]:
    """Return the error reasons without the date and process of the shepherd."""
    pattern = r"^error[ _]reason[ \t]*\d*:[ \t]*(?:\S+ \S+ \[[\d:]+\]: )?(.*?)[ \t]*$"
    return re.findall(pattern, description, re.MULTILINE | re.IGNORECASE)


def _on_hold(job: str) -> str:
    return f"on hold: qrls {job} releases it"


def _in_error(job: str) -> str:
    return f"in error state: qstat -j {job} may show why"


def _instance_reasons(by_trouble: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for trouble, names in by_trouble.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        see = "" if trouble == "full" else " (see: qstat -f -explain aAcE)"
        yield f"queue {trouble}: {', '.join(sorted(names)[:NAMED])}{more}{see}"


def _reasons_from_states(job: str, run: Runner) -> Iterator[str]:
    """Yield reasons from the states of the job's nodes and of all queue instances."""
    try:
        listing = run(["qstat", "-u", user_name(), "-s", "p", "-xml"])
        states = {state for other, state, _ in job_states(listing) if other == job}
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError):
        return
    if any("E" in state for state in states):
        yield _in_error(job)
    if any("h" in state for state in states):
        yield _on_hold(job)
    known = instances(run) if states else []
    if known and all(each.states for each in known):
        by_trouble: defaultdict[str, list[str]] = defaultdict(list)
        for each in known:
            by_trouble[each.trouble].append(f"{each.queue}@{each.host}")
        yield from _instance_reasons(by_trouble)
