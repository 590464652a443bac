"""From options to one line of submit options (DRMAA's native specification). Pure.

Grid Engine splits that line at blanks and has no quoting we could rely on, so a value
that would fall apart, or would become an option of its own, is refused by name.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Sequence

from dask_gridengine.errors import OptionError

_UNSAFE = re.compile(r"[\s\"'\\`]")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST_EXPRESSION = 2000  # characters


def native_specification(
    *,
    queue: str | None = None,
    project: str | None = None,
    walltime: float | None = None,
    resource_spec: str | None = None,
    parallel_environment: str | None = None,
    slots: int = 1,
    memory_resource: str | None = None,
    memory: int | None = None,
    memory_resource_per: str = "slot",
    array_concurrency: int | None = None,
    extra_directives: Sequence[str] = (),
) -> str:
    """Render what one node asks for as one line of submit options.

    Parameters
    ----------
    queue
        One or more, as after ``qsub -q``.
    walltime
        Seconds, asked for as ``h_rt``.
    resource_spec
        As after ``qsub -l``.
    slots
        Per node; more than one need a parallel environment.
    memory_resource
        The complex to ask `memory` of, named as in ``qconf -sc``.
    memory
        Bytes of the whole node; 0 and None ask for none.
    memory_resource_per
        ``"slot"`` if Grid Engine charges the complex per slot (consumable YES): each
        slot then asks for its share. ``"job"`` if once per job (JOB).
        Source: ``man 5 complex``, Son of Grid Engine 8.1.9.
    array_concurrency
        How many nodes of an array may run at once (``-tc``).
    extra_directives
        Further options, each as after ``qsub``; they come last.

    Raises
    ------
    OptionError
        If a value would become something else in that line, the same resource is
        asked for twice, or the options do not go together.

    Examples
    --------
    >>> native_specification(queue="long.q", walltime=3600, slots=4,
    ...     parallel_environment="smp", memory_resource="h_vmem", memory=2**32)
    '-q long.q -l h_rt=3600,h_vmem=1073741824 -pe smp 4'
    """
    words: list[str] = []
    if queue:
        words += ["-q", _safe("queue", queue)]
    if project:
        words += ["-P", _safe("project", project, comma=False)]
    resources = list(_split_resources(resource_spec))
    if walltime is not None:
        resources.append(f"h_rt={math.ceil(walltime)}")
    if memory_resource and memory:
        name = _safe("memory_resource", memory_resource, comma=False)
        share = slots if memory_resource_per == "slot" else 1
        resources.append(f"{name}={-(-memory // share)}")
    if resources:
        _refuse_repetition(resources)
        words += ["-l", ",".join(resources)]
    words += _parallel(parallel_environment, slots)
    if array_concurrency is not None:
        words += ["-tc", str(array_concurrency)]
    return " ".join([*words, *map(_directive, extra_directives)])


def exclude_hosts(native: str, hosts: Collection[str]) -> str:
    """Submit options with these hosts excluded.

    Options that choose their hosts themselves stay as they are, and names that are no
    plain host names are left out. So are the last ones where all would be longer than
    Grid Engine takes: "exceed the limit 2048 characters" (Son of Grid Engine 8.1.9).

    Parameters
    ----------
    native
        Submit options as one line.

    Examples
    --------
    >>> exclude_hosts("-q long.q -l h_rt=60", {"node9", "node1"})
    '-q long.q -l h_rt=60 -l h=!node1&!node9'
    >>> exclude_hosts("-l h=node*", {"node1"})
    '-l h=node*'
    """
    names = sorted(f"!{host}" for host in set(hosts) if _HOST.fullmatch(host))
    lengths = itertools.accumulate(len(name) + 1 for name in names)
    fitting = [
        name
        for name, length in zip(names, lengths, strict=True)
        if length <= _LONGEST_EXPRESSION
    ]
    if not fitting or _chooses_hosts(native):
        return native
    hard = ["-hard"] if _ends_soft(native) else []
    return " ".join([*native.split(), *hard, "-l", f"h={'&'.join(fitting)}"])


def hard_requests(native: str, options: Collection[str]) -> Iterator[tuple[str, str]]:
    """These of the options in a line, each with its first value; none behind -soft.

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


def _chooses_hosts(native: str) -> bool:
    words = [word for word in native.split() if word not in ("-soft", "-hard")]
    for option, value in hard_requests(" ".join(words), ("-l", "-q", "-masterq")):
        if option != "-l" and "@" in value:
            return True
        names = {resource.partition("=")[0] for resource in value.split(",")}
        if option == "-l" and names & {"h", "hostname"}:
            return True
    return False


def _ends_soft(native: str) -> bool:
    modes = [word for word in native.split() if word in ("-soft", "-hard")]
    return modes[-1:] == ["-soft"]


def _safe(name: str, value: str, *, comma: bool = True) -> str:
    found = _UNSAFE.search(value)
    bad = found.group() if found else "," if not comma and "," in value else ""
    if bad:
        raise OptionError(
            f"{name}={value!r} holds {bad!r}, which Grid Engine would take for the end"
            " of the value; leave it out"
        )
    if value.startswith("-"):
        raise OptionError(
            f"{name}={value!r} begins with '-', so Grid Engine would take it for an"
            " option; options of your own go into job_extra_directives"
        )
    return value


def _split_resources(spec: str | None) -> Iterator[str]:
    if not spec:
        return
    for resource in _safe("resource_spec", spec).split(","):
        if not resource or resource.startswith("="):
            raise OptionError(
                f"resource_spec={spec!r}: nothing is named at {resource!r}; write it as"
                " after qsub -l, e.g. 'h_vmem=4G,gpu=1' (qconf -sc lists the names)"
            )
        yield resource


def _refuse_repetition(resources: Sequence[str]) -> None:
    """Grid Engine would silently take the last one."""
    names = [resource.partition("=")[0] for resource in resources]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(
                f"{name} is asked for twice: -l {','.join(resources)}; it comes from"
                " two of the options resource_spec, walltime (h_rt), memory_resource"
            )


def _parallel(environment: str | None, slots: int) -> list[str]:
    if environment:
        name = _safe("parallel_environment", environment, comma=False)
        return ["-pe", name, str(slots)]
    if slots > 1:
        raise OptionError(
            f"{slots} cores need a parallel environment that puts them on one host"
            " (allocation_rule $pe_slots): parallel_environment='smp', say.\n"
            "  what there is: qconf -spl lists them, qconf -sp NAME shows one"
        )
    return []


def _directive(text: str) -> str:
    directive = text.strip()
    if not directive.startswith("-") or re.search(r"[\n\r\"'`\\]", directive):
        raise OptionError(
            f"job_extra_directives: {text!r} must be one submit option as after qsub,"
            " e.g. '-R y', in one line and without quotes"
        )
    return directive
