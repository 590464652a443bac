"""PBS Professional, OpenPBS and Torque, by pbs-drmaa. Written from manuals; not run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from dask_gridengine.causes import Cause
from dask_gridengine.dialects.base import (
    Dialect,
    Runner,
    Wish,
    directive,
    megabytes,
    whole_minutes,
    word,
)
from dask_gridengine.grid import NodeId

#: ``123[7].server`` of an array's subjob, ``123.server`` of a job by itself.
_ID = re.compile(r"(\d+)\[(\d*)\](.*)")


class PBS(Dialect):
    """Ids have the index within: ``123[7].server`` (PBS Professional user's guide)."""

    name: ClassVar[str] = "pbs"
    title: ClassVar[str] = "PBS"
    arrays: ClassVar[bool] = True
    log_name: ClassVar[str] = "${PBS_JOBID%%[[.]*}.${PBS_ARRAY_INDEX:-$PBS_ARRAYID}"
    listing: ClassVar[str] = "qstat -t"
    deletion: ClassVar[str] = "with qdel"
    advice: ClassVar[Mapping[Cause, str]] = {
        Cause.HOST_LOST: "pbsnodes shows whether the host answers PBS",
        Cause.NOT_STARTED: "tracejob {job} has the words of PBS; ask the admins",
        Cause.NEVER_ARRIVED: "tracejob {job} may say more",
        Cause.UNKNOWN: "tracejob {job} may say more",
    }

    def identity(self, environ: Mapping[str, str]) -> tuple[str, int]:
        """Torque calls the index PBS_ARRAYID."""
        index = environ.get("PBS_ARRAY_INDEX") or environ["PBS_ARRAYID"]
        return re.split(r"[\[.]", environ["PBS_JOBID"])[0], int(index)

    def slots(self, environ: Mapping[str, str]) -> int | None:
        """NCPUS is set by PBS Professional, PBS_NUM_PPN by Torque."""
        said = environ.get("NCPUS") or environ.get("PBS_NUM_PPN") or ""
        return int(said) if said.isdigit() and int(said) else None

    def queue(self, environ: Mapping[str, str]) -> str:
        """The queue that it runs in, not the one it was submitted to."""
        return environ.get("PBS_QUEUE", "")

    def parse(self, job_id: str) -> NodeId:
        """The server's name is left out: the commands know their own."""
        found = _ID.fullmatch(job_id)
        if not found:
            return NodeId(job_id.partition(".")[0], 1)
        return NodeId(found[1], int(found[2] or 1))

    def form(self, node: NodeId) -> str:
        """``123[7]``, of the default server."""
        return f"{node.job}[{node.index}]"

    def native(self, wish: Wish) -> str:
        """As after ``qsub``; `resource_spec` in place of the chunk it makes up."""
        words: list[str] = []
        if wish.queue:
            words += ["-q", word("queue", wish.queue)]
        if wish.project:
            words += ["-A", word("project", wish.project)]
        chunk = f"select=1:ncpus={wish.slots}"
        if wish.memory:
            chunk += f":mem={megabytes(wish.memory)}mb"
        spec = wish.resource_spec
        words += ["-l", word("resource_spec", spec) if spec else chunk]
        if wish.walltime is not None:
            hours, minutes = divmod(whole_minutes(wish.walltime), 60)
            words += ["-l", f"walltime={hours:02}:{minutes:02}:00"]
        return " ".join([*words, *map(directive, wish.extra_directives)])

    def unsaid(self, wish: Wish) -> list[str]:
        """No parallel environments; memory is asked for by its own name."""
        given = {
            "parallel_environment": wish.parallel_environment,
            "memory_resource": wish.memory_resource,
            "array_concurrency": wish.array_concurrency,
        }
        return [name for name, value in given.items() if value is not None]

    def find_marked(self, name: str, mark: str, run: Runner) -> list[str]:
        """``qstat -f`` shows each job's environment, in lines that go on after tabs."""
        jobs = re.split(r"^Job Id: ", run(["qstat", "-f"]), flags=re.MULTILINE)
        return [
            job.split("[")[0].split(".")[0]
            for job in jobs
            if mark in re.sub(r"\n\s+", "", job)
        ]
