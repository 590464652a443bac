"""What ``qstat -j`` says of an array: its requests in force, and why it queues.

Grid Engines differ in how they print: fields are found by name, without regard to case,
and a name may have ``_`` or a blank between its words.
"""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.job_states import states_in, user_name
from dask_gridengine.batch.sge.queue_instances import Instance, parse_instances
from dask_gridengine.batch.sge.queue_limits import LIMITS, shortest
from dask_gridengine.batch.sge.submit_options import hard_requests
from dask_gridengine.errors import OptionError
from dask_gridengine.grid_types import ArrayReport
from dask_gridengine.walltime_parsing import parse_walltime

#: Resources that choose hosts and queues. qstat prints another name for some of them
#: than was requested (h: hostname), and hosts are excluded by us.
_HOST_NAMES = frozenset({"h", "hostname", "q", "qname"})
NAMED = 3  # queue instances of a reason; the others are counted
#: Lines of "scheduling info" without a reason.
_EMPTY = (
    "there are no messages available",
    "collecting of scheduler job information is turned off",
    "all queues dropped because of overload or full",
)
_DROPPED = re.compile(r'queue instance "([^"]+)" dropped because it is (.+)', re.I)
_QUOTA = re.compile(r'exceeds limit .* in rule "([^"/]+)', re.I)
_PLACE = re.compile(r'(?:at host|in queue(?: instance)?) "[^"]+"', re.I)


def report(job: str, native: str, run: Runner) -> ArrayReport | None:
    """Ask about an array.

    Parameters
    ----------
    native
        Submit options as they were given to the grid.

    Returns
    -------
    ArrayReport or None
        None if the grid does not answer, or has no such job any more.
    """
    try:
        shown = run(["qstat", "-j", job])
    except (OSError, subprocess.SubprocessError):
        return None
    in_force = requests(shown)
    return ArrayReport(
        walltime=shortest(in_force[name] for name in LIMITS if name in in_force),
        added=" ".join(added(native, shown)),
        reasons=tuple(_reasons(job, shown, run)),
    )


def requests(shown: str) -> dict[str, str]:
    """The hard resource requests of a job, by name.

    Examples
    --------
    >>> requests("hard resource_list:         h_rt=20,gpu=1\\nnotify:   FALSE")
    {'h_rt': '20', 'gpu': '1'}
    >>> requests("hard_resource_list:  h_rt=20")
    {'h_rt': '20'}
    """
    listed = _field("hard resource list", shown).split(",")
    pairs = (part.partition("=") for part in listed)
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def _field(name: str, shown: str) -> str:
    """The value of a field, its name written with blanks; "" if there is none."""
    pattern = rf"^(?:global[ _])?{name.replace(' ', '[ _]')}:[ \t]*(.*?)[ \t]*$"
    found = re.search(pattern, shown, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def added(native: str, shown: str) -> list[str]:
    """Requests in force that the submit options do not make, as options of qsub.

    Examples
    --------
    >>> added("-l h_rt=0:1:0,gpu=1", "hard resource_list: h_rt=60,gpu=2,arch=x")
    ['-l gpu=2,arch=x']
    >>> added("", "hard_queue_list: short.q")
    ['-q short.q']
    """
    resources = ",".join(_added_resources(native, requests(shown)))
    queues = _field("hard queue list", shown)
    if any(hard_requests(native, ("-q",))):
        queues = ""
    options = (("-l", resources), ("-q", queues))
    return [f"{option} {value}" for option, value in options if value]


def _added_resources(native: str, in_force: Mapping[str, str]) -> Iterator[str]:
    ours: dict[str, str] = {}
    for _, value in hard_requests(native, ("-l",)):
        pairs = (part.partition("=") for part in value.split(","))
        ours |= {name: wanted for name, _, wanted in pairs}
    for name, value in in_force.items():
        known = name in _HOST_NAMES or (
            name in ours and _plain(ours[name] or "TRUE") == _plain(value or "TRUE")
        )
        if not known:
            yield f"{name}={value}" if value else name


def _plain(value: str) -> object:
    """A value so that the same time, in seconds or as h:m:s, is equal."""
    try:
        return parse_walltime(value)
    except OptionError:
        return value.upper()


def scheduling_info(text: str) -> list[str]:
    r"""What ``qstat -j`` says below its last heading.

    Examples
    --------
    >>> scheduling_info("job_number: 3\nscheduling info:   queue is full\n     other")
    ['queue is full', 'other']
    """
    _, _, info = re.sub("scheduling[ _]info:", "\0", text, flags=re.I).partition("\0")
    lines = [line.strip() for line in info.splitlines()]
    return [line for line in lines if line]


def _reasons(job: str, shown: str, run: Runner) -> list[str]:
    info = scheduling_info(shown)
    found = list(why_queued(job, shown, _instances(info, run)))
    if found or info[:1] == ["There are no messages available"]:
        return found
    # Many sites have switched off these messages (schedd_job_info, man sched_conf).
    return list(_by_states(job, run))


def _instances(info: Sequence[str], run: Runner) -> list[Instance]:
    """States of queue instances, where qstat -j says more than that they are full."""
    dropped = (_DROPPED.search(line) for line in info)
    if any(match and match[2] != "full" for match in dropped):
        return _ask_instances(run)
    return []


def _ask_instances(run: Runner) -> list[Instance]:
    try:
        return parse_instances(run(["qstat", "-f", "-s", "r"]))
    except (OSError, subprocess.SubprocessError):
        return []


def why_queued(job: str, shown: str, instances: Sequence[Instance]) -> Iterator[str]:
    """Why nodes of a job queue, a line for each kind of reason: "on hold: ...".

    Parameters
    ----------
    shown
        What ``qstat -j`` printed.
    instances
        Queue instances with their states, as far as they were asked for.
    """
    pattern = r"^error reason[ \t]*\d*:[ \t]*(?:\S+ \S+ \[[\d:]+\]: )?(.*?)[ \t]*$"
    errors = re.findall(pattern, shown, re.MULTILINE | re.IGNORECASE)
    if errors:
        yield f"in error state: {errors[0]} (then: qmod -cj {job})"
    troubles = {f"{each.queue}@{each.host}": each.trouble for each in instances}
    dropped_by: dict[str, list[str]] = {}
    alike: dict[str, list[str]] = {}
    for line in scheduling_info(shown):
        lower = line.lower()
        if any(empty in lower for empty in _EMPTY):
            continue
        if dropped := _DROPPED.search(line):
            trouble = troubles.get(dropped[1]) or dropped[2].partition(":")[0]
            dropped_by.setdefault(trouble, []).append(dropped[1])
        elif "in hold state" in lower:
            yield f"on hold: qrls {job} releases it"
        elif "in error state" in lower:
            if not errors:
                yield f"in error state: qstat -j {job} may say why"
        elif quota := _QUOTA.search(line):
            yield f"resource quota {quota[1]}: {line} (see: qconf -srqs {quota[1]})"
        else:
            alike.setdefault(_PLACE.sub("", line), []).append(line)
    for trouble, names in dropped_by.items():
        yield _of_instances(trouble, names)
    for lines in alike.values():
        more = f" (and {len(lines) - 1} more like this)" if len(lines) > 1 else ""
        yield f"no suitable queue: {lines[0]}{more}"


def _of_instances(trouble: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    see = "" if trouble == "full" else " (see: qstat -f -explain aAcE)"
    return f"queue {trouble}: {', '.join(sorted(names)[:NAMED])}{more}{see}"


def _by_states(job: str, run: Runner) -> Iterator[str]:
    """Reasons by the states of the job and of all queue instances."""
    try:
        listing = run(["qstat", "-u", user_name(), "-s", "p", "-xml"])
        states = {state for node, state in states_in(listing) if node.job == job}
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError):
        return
    if any("E" in state for state in states):
        yield f"in error state: qstat -j {job} may say why"
    if any("h" in state for state in states):
        yield f"on hold: qrls {job} releases it"
    instances = _ask_instances(run) if states else []
    if instances and all(each.states for each in instances):
        by_trouble: dict[str, list[str]] = {}
        for each in instances:
            name = f"{each.queue}@{each.host}"
            by_trouble.setdefault(each.trouble, []).append(name)
        for trouble, names in by_trouble.items():
            yield _of_instances(trouble, names)
