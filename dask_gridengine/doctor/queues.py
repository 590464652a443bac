"""Which queues take this user's jobs, with these options, and where they could run."""

from __future__ import annotations

from dask_gridengine.batch.sge.qstat import Instance, parse_instances
from dask_gridengine.doctor.commands import CommandResult, Commands, table
from dask_gridengine.doctor.finding import Finding, failed, passed, skipped, warned
from dask_gridengine.options import Options

NAMED = 6  # hosts or queues in a sentence; the others are counted
NO_PERMISSION = (
    "ask your admins for access, or choose another queue with --queue (option queue)"
)


def some(names: list[str]) -> str:
    """A few names, and how many more.

    Examples
    --------
    >>> some(["a", "b"]), some([str(n) for n in range(9)])
    ('a, b', '0, 1, 2, 3, 4, 5 and 3 more')
    """
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


async def queues(
    commands: Commands, options: Options, verified: CommandResult, user: str
) -> Finding:
    """Whether jobs with these options could run, and where."""
    selected = await commands.run("qselect", "-U", user, *_chosen(options))
    if selected.missing:
        return skipped("queues", "there is no qselect here")
    if not verified.ok and not verified.missing:
        return await _refused(commands, options, verified, selected, user)
    shown = await commands.run("qstat", "-f")
    wanted = {line for line in selected.lines if "@" in line}
    there = [
        instance
        for instance in parse_instances(shown.text)
        if f"{instance.queue}@{instance.host}" in wanted
    ]
    return _told(there) if there else _unknown(selected)


def _chosen(options: Options) -> list[str]:
    return ["-q", options.queue] if options.queue else []


def _unknown(selected: CommandResult) -> Finding:
    return warned(
        "queues",
        "Grid Engine does not say which queues take your jobs; the probe will tell",
        "qstat -f and qselect show the queues",
        *selected.lines,
    )


def _told(there: list[Instance]) -> Finding:
    well = [instance for instance in there if not instance.states]
    ill = [instance for instance in there if instance.states]
    evidence = [
        f"{instance.queue}@{instance.host} is {instance.trouble}"
        for instance in ill[:NAMED]
    ]
    names = some(sorted({instance.queue for instance in there}))
    if not well:
        return warned(
            "queues",
            f"{names}: no host takes jobs at the moment, they will wait",
            "qstat -f -explain E shows why; ask your admins if it stays so",
            *evidence,
        )
    slots = sum(instance.slots for instance in well)
    free = sum(max(0, instance.slots - instance.used) for instance in well)
    hosts = len({instance.host for instance in well})
    sentence = (
        f"{names}: {hosts} host{'s' if hosts > 1 else ''}, {free} of {slots} slots free"
    )
    if ill:
        return warned(
            "queues",
            f"{sentence}; {len(ill)} of {len(there)} queue instances take no jobs",
            "nothing, if you can do without; qstat -f -explain E shows why",
            *evidence,
        )
    return passed("queues", sentence)


async def _refused(
    commands: Commands,
    options: Options,
    verified: CommandResult,
    selected: CommandResult,
    user: str,
) -> Finding:
    said = [line for line in verified.lines if line != "Exiting."]
    if selected.ok:
        return failed(
            "queues",
            "no queue can run jobs with these options",
            "change what Grid Engine names: queue, resource_spec,"
            " parallel_environment, memory_resource, walltime",
            *said,
        )
    listed = await commands.run("qconf", "-sql")
    if options.queue and _none_exists(options.queue, listed):
        return failed(
            "queues",
            f"there is no queue {options.queue!r}",
            f"choose one of these with --queue (option queue): {some(listed.lines)}",
            *said,
        )
    which = f"queue {options.queue!r}" if options.queue else "any queue"
    return failed(
        "queues",
        f"{user} has no permission for {which}",
        NO_PERMISSION,
        *said,
        *await _gates(commands, options, listed),
    )


def _none_exists(chosen: str, listed: CommandResult) -> bool:
    names = {name.partition("@")[0] for name in chosen.split(",")}
    patterns = any(letter in chosen for letter in "*?[]!|&")
    return listed.ok and not patterns and not names & set(listed.lines)


async def _gates(
    commands: Commands, options: Options, listed: CommandResult
) -> list[str]:
    """What the queues want of a user, in Grid Engine's words."""
    names = options.queue.split(",") if options.queue else listed.lines
    found = []
    for name in names[:NAMED]:
        shown = table((await commands.run("qconf", "-sq", name.partition("@")[0])).text)
        wants = [
            f"{key} {shown[key]}"
            for key in ("user_lists", "xuser_lists", "projects", "xprojects")
            if shown.get(key, "NONE") != "NONE"
        ]
        if wants:
            found.append(f"{name}: {'; '.join(wants)} (qconf -su LIST shows a list)")
    return found
