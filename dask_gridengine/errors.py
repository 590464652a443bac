"""Everything this package raises on purpose.

GridEngineError
 |- OptionError            an option's value makes no sense (also a ValueError)
 |- WireError              bytes that are no message of ours
 |- LauncherError          the launcher could not do what was asked
 |   |- LauncherUnavailable   there is no such launcher here; nothing was started
 |   |- SubmitError           the grid refused the array; nothing was queued
 |   |   |- GridFull          ... for now: this user has as many jobs as may be
 |   |   `- ArrayTooLarge     ... as one array: it has to be several
 |   `- DrmCommunicationError the grid does not answer; nothing is known
 |- DoorError              a node found no way to its allocation
 |- NoAnswer               a cluster did not answer its user's question
 |- NodesFailed            nodes ended before they became workers
 `- TaskTimeLimit          a task ran longer than its hard limit

An unknown option name is a plain TypeError, as for any Python function.

Every one survives pickling: ``Exception.args`` hold what ``__init__`` takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


class GridEngineError(Exception):
    """Base of all errors of this package."""


class OptionError(GridEngineError, ValueError):
    """An option's value makes no sense; the message names it and what would."""


class WireError(GridEngineError):
    """Bytes that are not a bootstrap message of this version."""


class LauncherError(GridEngineError):
    """The launcher could not do what was asked."""


class LauncherUnavailable(LauncherError):
    """This launcher cannot be had here; nothing was started.

    Parameters
    ----------
    launcher
        Its name, e.g. ``"drmaa"``.
    reason
        What was missing, in a clause.
    advice
        What to type next.
    """

    def __init__(self, launcher: str, reason: str, advice: str) -> None:
        super().__init__(launcher, reason, advice)
        self.launcher, self.reason, self.advice = launcher, reason, advice

    def __str__(self) -> str:
        return (
            f"the {self.launcher} launcher cannot be had here: {self.reason}\n"
            f"  what to do: {self.advice}"
        )


class SubmitError(LauncherError):
    """The grid refused the array; nothing was queued.

    Parameters
    ----------
    reason
        The grid's own words.
    count
        How many nodes were asked for.
    native
        The submit options they were asked for with; None where the launcher is no
        Grid Engine and takes none.
    """

    def __init__(self, reason: str, count: int, native: str | None) -> None:
        super().__init__(reason, count, native)
        self.reason, self.count, self.native = reason, count, native

    def __str__(self) -> str:
        reason = self.reason.strip()
        if self.native is None:
            return f"the array was refused, nothing was queued: {reason}"
        return (
            f"the grid refused the array, nothing was queued: {reason}\n"
            f"  asked for: {self.count} nodes with {self.native or '(no options)'}\n"
            f"  to check:  qsub -w v -t 1-{self.count} {self.native} -b y /bin/true\n"
            f"  to change: the options queue, project, resource_spec,"
            f" parallel_environment, job_extra_directives, jobs of GridEngineCluster"
            f" or the same keys under gridengine: in Dask's config"
        )


class GridFull(SubmitError):
    """The grid takes no more jobs for now; the same may go through later."""

    @classmethod
    def is_meant(cls, reason: str) -> bool:
        """Whether a refusal speaks of ``max_u_jobs``, ``maxujobs`` or ``max_jobs``.

        Source: Son of Grid Engine 8.1.9, which says "job rejected: only 3 jobs are
        allowed per user (current job count: 3)". It counts an array as one job.
        """
        return re.search(r"only \d+ jobs are allowed", reason) is not None

    def __str__(self) -> str:
        return f"the grid takes no more jobs for now: {self.reason.strip()}"


class ArrayTooLarge(SubmitError):
    """The grid wants no array of so many nodes (``max_aj_tasks``)."""

    @classmethod
    def limit_in(cls, reason: str) -> int:
        """The most an array may have, if a refusal speaks of that; else 0.

        Source: Son of Grid Engine 8.1.9, which says "job rejected: you tried to submit
        a job with more than 75000 tasks".
        """
        found = re.search(r"more than (\d+) tasks", reason)
        return int(found[1]) if found else 0

    @property
    def limit(self) -> int:
        """The most nodes an array may have."""
        return self.limit_in(self.reason)


def refusal(reason: str, count: int, native: str | None) -> SubmitError:
    """The error for what the grid says when it refuses an array."""
    for kind, meant in (
        (GridFull, GridFull.is_meant(reason)),
        (ArrayTooLarge, 0 < ArrayTooLarge.limit_in(reason) < count),
    ):
        if meant:
            return kind(reason, count, native)
    return SubmitError(reason, count, native)


class DrmCommunicationError(LauncherError):
    """The grid's master does not answer. That says nothing about running nodes."""


class DoorError(GridEngineError):
    """A node found no way to its allocation; the message says what it tried."""


class NoAnswer(GridEngineError):
    """A cluster did not answer its user's question.

    Parameters
    ----------
    cluster
        Its name.
    tried
        Each address of its door, with what it answered.
    """

    def __init__(self, cluster: str, tried: Mapping[str, str]) -> None:
        super().__init__(cluster, dict(tried))
        self.cluster, self.tried = cluster, dict(tried)

    def __str__(self) -> str:
        answers = ", ".join(
            f"{address}: {said}" for address, said in self.tried.items()
        )
        return f"{self.cluster} did not answer ({answers})"


class NodesFailed(GridEngineError):
    """Nodes fail alike, or were taken away: those that are waited for will not come.

    Parameters
    ----------
    wanted
        Workers that were waited for.
    alive
        Workers there are.
    reasons
        One sentence for each different end, most frequent first.
    """

    def __init__(self, wanted: int, alive: int, reasons: Sequence[str]) -> None:
        super().__init__(wanted, alive, tuple(reasons))
        self.wanted, self.alive, self.reasons = wanted, alive, tuple(reasons)

    def __str__(self) -> str:
        head = (
            f"waited for {self.wanted} workers, have {self.alive},"
            " and none will come as things are:"
        )
        return "\n".join([head, *(f"  {reason}" for reason in self.reasons)])


class TaskTimeLimit(GridEngineError):
    """A task ran longer than ``task_hard_limit``, and was ended.

    Parameters
    ----------
    key
        The task's.
    seconds
        The limit.
    where
        The worker, and its host.
    """

    def __init__(self, key: str, seconds: float, where: str) -> None:
        super().__init__(key, seconds, where)
        self.key, self.seconds, self.where = key, seconds, where

    def __str__(self) -> str:
        return (
            f"task {self.key!r} ran longer than task_hard_limit={self.seconds:g}"
            f" seconds, on {self.where}, and was ended\n"
            "  what to do: make it shorter, or give GridEngineCluster a larger"
            " task_hard_limit="
        )
