"""Checks which queues take this user's jobs with these options."""

from __future__ import annotations

from dask_gridengine.batch.sge.qstat import Instance, parse_instances
from dask_gridengine.cli.doctor.finding import Finding, failed, passed, skipped, warned
from dask_gridengine.cli.doctor.grid_checks.commands import (
    CommandResult,
    GridCommands,
    attributes,
)
from dask_gridengine.options import Options

NAME = "queues"
LISTED = 6  # names in a sentence
PERMISSIONS = ("user_lists", "xuser_lists", "projects", "xprojects")


def shortened(names: list[str]) -> str:
    """List a few names and count the others.

    Examples
    --------
    >>> shortened(["a", "b"]), shortened([str(n) for n in range(9)])
    ('a, b', '0, 1, 2, 3, 4, 5 and 3 more')
    """
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")


async def usable_queues(
    commands: GridCommands, options: Options, user: str
) -> CommandResult:
    """List the queue instances that this user may use."""
    queue = ["-q", options.queue] if options.queue else []
    return await commands.run("qselect", "-U", user, *queue)


async def check_queues(
    commands: GridCommands, options: Options, verified: CommandResult, user: str
) -> Finding:
    """Check that a queue can run jobs with these options."""
    usable = await usable_queues(commands, options, user)
    if usable.missing:
        return skipped(NAME, "qselect is not installed here")
    if not verified.ok and not verified.missing:
        return await _rejected(commands, options, verified, usable, user)
    listed = await commands.run("qstat", "-f")
    instances = [
        instance
        for instance in parse_instances(listed.text)
        if f"{instance.queue}@{instance.host}" in usable.lines
    ]
    if instances:
        return _of_instances(instances)
    return warned(
        NAME,
        "Grid Engine does not list the queues that take your jobs",
        "see qstat -f and qselect",
        *usable.lines,
    )


def _of_instances(instances: list[Instance]) -> Finding:
    good = [instance for instance in instances if not instance.states]
    bad = [instance for instance in instances if instance.states]
    evidence = [f"{each.queue}@{each.host} is {each.trouble}" for each in bad[:LISTED]]
    names = shortened(sorted({instance.queue for instance in instances}))
    if not good:
        return warned(
            NAME,
            f"{names}: no host takes jobs at the moment, they will wait",
            "see qstat -f -explain E; ask your admins if it lasts",
            *evidence,
        )
    slots = sum(instance.slots for instance in good)
    free = sum(max(0, instance.slots - instance.used) for instance in good)
    hosts = len({instance.host for instance in good})
    plural = "s" if hosts > 1 else ""
    sentence = f"{names}: {hosts} host{plural}, {free} of {slots} slots free"
    if bad:
        return warned(
            NAME,
            f"{sentence}; {len(bad)} of {len(instances)} queue instances take no jobs",
            "see qstat -f -explain E, if you need them",
            *evidence,
        )
    return passed(NAME, sentence)


async def _rejected(
    commands: GridCommands,
    options: Options,
    verified: CommandResult,
    usable: CommandResult,
    user: str,
) -> Finding:
    evidence = [line for line in verified.lines if line != "Exiting."]
    if usable.ok:
        return failed(
            NAME,
            "no queue can run jobs with these options",
            "change the option that Grid Engine names: queue, resource_spec,"
            " parallel_environment, memory_resource, walltime",
            *evidence,
        )
    listed = await commands.run("qconf", "-sql")
    if options.queue and _does_not_exist(options.queue, listed):
        return failed(
            NAME,
            f"queue {options.queue!r} does not exist",
            f"use one of these with --queue (option queue): {shortened(listed.lines)}",
            *evidence,
        )
    queue = f"queue {options.queue!r}" if options.queue else "any queue"
    names = options.queue.split(",") if options.queue else listed.lines
    return failed(
        NAME,
        f"{user} has no permission for {queue}",
        "ask your admins for access, or use another queue with --queue (option queue)",
        *evidence,
        *[line for name in names[:LISTED] for line in await _access(commands, name)],
    )


def _does_not_exist(queue: str, listed: CommandResult) -> bool:
    names = {name.partition("@")[0] for name in queue.split(",")}
    pattern = any(character in queue for character in "*?[]!|&")
    return listed.ok and not pattern and not names & set(listed.lines)


async def _access(commands: GridCommands, name: str) -> list[str]:
    shown = await commands.run("qconf", "-sq", name.partition("@")[0])
    queue = attributes(shown.text)
    lists = [
        f"{key} {queue[key]}" for key in PERMISSIONS if queue.get(key, "NONE") != "NONE"
    ]
    if not lists:
        return []
    return [f"{name}: {'; '.join(lists)} (see qconf -su LIST)"]


async def running_tasks(commands: GridCommands, job: str) -> dict[int, str]:
    """Return ``queue@host`` of each running task of an array, by index."""
    result = await commands.run("qstat", "-s", "r")
    found = {}
    for line in result.lines if result.ok else ():
        words = line.split()
        instances = [word for word in words if "@" in word]
        if words[0] == job and instances and words[-1].isdigit():
            found[int(words[-1])] = instances[0]
    return found
