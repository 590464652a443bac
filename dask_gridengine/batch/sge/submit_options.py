"""Submit options of Grid Engine: one line of options (DRMAA's native specification).

Grid Engine splits the line at blanks and has no quoting, so a value that would be cut,
or read as another option, is rejected.
"""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dask_gridengine.batch.base import (
    ResourceRequest,
    directive,
    option_value,
    parse_time,
)
from dask_gridengine.errors import OptionError
from dask_gridengine.grid_types import NodeRequest

#: Resources that limit the walltime. At ``s_rt`` the grid sends SIGUSR1, at ``h_rt``
#: SIGKILL (man 5 queue_conf); a node ends before the first of them.
WALLTIME_LIMITS = ("h_rt", "s_rt")
#: The longest expression of excluded hosts. With more characters Grid Engine rejects
#: the submission: "exceed the limit 2048 characters" (Son of Grid Engine 8.1.9).
LONGEST_EXPRESSION = 2000
_DIRECTORY = "tasks run in the directory of this process; os.chdir() before the start"
_LOG = "use log_directory=, where each node opens its log"
#: Options of qsub that have no effect, and what does the same.
OVERRIDDEN = {
    "-N": "use name=",
    "-cwd": _DIRECTORY,
    "-wd": _DIRECTORY,
    "-e": _LOG,
    "-j": _LOG,
    "-o": _LOG,
}


def submit_options(request: ResourceRequest) -> str:
    """Render a request as one line of submit options.

    Examples
    --------
    >>> submit_options(ResourceRequest(queue="long.q", walltime=3600, slots=4,
    ...     parallel_environment="smp", memory_resource="h_vmem", memory=2**32))
    '-q long.q -l h_rt=3600,h_vmem=1073741824 -pe smp 4'
    """
    words: list[str] = []
    if request.queue:
        words += ["-q", option_value("queue", request.queue)]
    if request.project:
        words += ["-P", option_value("project", request.project, comma=False)]
    if resources := list(_resources(request)):
        _reject_repetition(resources)
        words += ["-l", ",".join(resources)]
    words += _parallel(request.parallel_environment, request.slots)
    _reject_overridden(request.extra_directives)
    return " ".join([*words, *map(directive, request.extra_directives)])


def _resources(request: ResourceRequest) -> Iterator[str]:
    spec = request.resource_spec
    for resource in option_value("resource_spec", spec).split(",") if spec else ():
        if not resource.partition("=")[0]:
            raise OptionError(
                f"resource_spec={spec!r} has no resource name at {resource!r}",
                hint="write it as after qsub -l, e.g. 'h_vmem=4G,gpu=1' (qconf -sc"
                " lists the names)",
            )
        yield resource
    if request.walltime is not None:
        yield f"h_rt={math.ceil(request.walltime)}"
    if request.memory_resource and request.memory:
        name = option_value("memory_resource", request.memory_resource, comma=False)
        # A consumable YES is charged for each slot, JOB once (man 5 complex).
        shares = request.slots if request.memory_resource_per == "slot" else 1
        yield f"{name}={-(-request.memory // shares)}"


def _reject_repetition(resources: Sequence[str]) -> None:
    """Grid Engine would use the last one, without an error."""
    names = [resource.partition("=")[0] for resource in resources]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(
                f"{name} is requested twice: -l {','.join(resources)}; it comes from"
                " two of the options resource_spec, walltime (h_rt), memory_resource"
            )


def _reject_overridden(directives: Iterable[str]) -> None:
    """DRMAA's attributes, which we set, override these without an error."""
    for text in directives:
        for word in text.split():
            if instead := OVERRIDDEN.get(word):
                raise OptionError(
                    f"job_extra_directives: {text!r} would have no effect", hint=instead
                )


def _parallel(environment: str | None, slots: int) -> list[str]:
    if environment:
        name = option_value("parallel_environment", environment, comma=False)
        return ["-pe", name, str(slots)]
    if slots > 1:
        raise OptionError(
            f"cores={slots} need a parallel environment that puts all slots on one host"
            " (allocation_rule $pe_slots)",
            hint="parallel_environment='smp', for example: qconf -spl lists the"
            " names, qconf -sp NAME shows one",
        )
    return []


def exclude_hosts(native: str, hosts: Collection[str]) -> str:
    """Exclude hosts, unless the options choose hosts themselves.

    Names that are not plain host names are left out.
    """
    plain = (host for host in set(hosts) if re.fullmatch(r"[A-Za-z0-9._-]+", host))
    names = sorted(f"!{host}" for host in plain)
    lengths = itertools.accumulate(len(name) + 1 for name in names)
    fitting = sum(length <= LONGEST_EXPRESSION for length in lengths)
    if not fitting or _chooses_hosts(native):
        return native
    modes = [word for word in native.split() if word in ("-soft", "-hard")]
    hard = ["-hard"] if modes[-1:] == ["-soft"] else []
    expression = "&".join(names[:fitting])
    return " ".join([*native.split(), *hard, "-l", f"h={expression}"])


def _chooses_hosts(native: str) -> bool:
    words = (word for word in native.split() if word not in ("-soft", "-hard"))
    all_hard = " ".join(words)
    if any("@" in value for _, value in hard_requests(all_hard, ("-q", "-masterq"))):
        return True
    return not {"h", "hostname"}.isdisjoint(requested_resources(all_hard))


def script_directives(request: NodeRequest) -> list[str]:
    """Render the submission of a node as the first lines of a script for ``qsub``."""
    variables = [f"#$ -v {key}={value}" for key, value in request.environment.items()]
    return [
        f"#$ -N {request.name}",
        f"#$ -S {request.command[0]}",
        "#$ -wd /",
        "#$ -o /dev/null -j y",
        *variables,
        *([f"#$ {request.native}"] if request.native else []),
    ]


def hard_requests(native: str, options: Collection[str]) -> Iterator[tuple[str, str]]:
    """Find options in a line, each with its first value; not those after -soft.

    Examples
    --------
    >>> list(hard_requests("-q a.q -pe smp 4 -soft -l x -hard -l y", ("-l", "-pe")))
    [('-pe', 'smp'), ('-l', 'y')]
    """
    soft = False
    for word, value in itertools.pairwise([*native.split(), ""]):
        if word in ("-soft", "-hard"):
            soft = word == "-soft"
        elif word in options and value and not soft:
            yield word, value


def requested_resources(native: str) -> dict[str, str]:
    """Return the hard resource requests in a line, by name."""
    values = (value for _, value in hard_requests(native, ("-l",)))
    return resources_in(",".join(values))


def resources_in(text: str) -> dict[str, str]:
    """Split ``a=1,b`` into names and values."""
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


def requested_limit(native: str) -> float | None:
    """Return the shorter of the requested ``h_rt`` and ``s_rt``, in seconds."""
    return shortest_limit(requested_resources(native))


def shortest_limit(resources: Mapping[str, str]) -> float | None:
    """Return the shorter of ``h_rt`` and ``s_rt`` among resources, in seconds."""
    return shortest(resources.get(name, "") for name in WALLTIME_LIMITS)


def shortest(values: Iterable[str]) -> float | None:
    """Return the shortest of these times in seconds; None if none is finite."""
    return min(filter(None, map(parse_time, values)), default=None)


def wrap_command(
    command: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Encode a command so that Grid Engine delivers it unchanged.

    libdrmaa cuts an argument at its first newline and a variable at its second "=",
    without an error. Such a command is wrapped in a shell that decodes it.
    """
    cut = {name: value for name, value in environment.items() if "=" in value}
    if not cut and not any("\n" in word for word in command):
        return command, dict(environment)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in cut.items()]
    script = "; ".join([*exports, f"exec {shlex.join(command)}"])
    for letter in ("\\", "\n", "'"):
        script = script.replace(letter, f"\\{ord(letter):04o}")
    kept = {name: value for name, value in environment.items() if name not in cut}
    return ("/bin/sh", "-c", f"""eval "$(printf %b '{script}')\""""), kept
