"""LSF, by its own or the lsf-drmaa library. Written from manuals; not run."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import ClassVar

from dask_gridengine.causes import Cause
from dask_gridengine.dialects.base import (
    Dialect,
    Wish,
    directive,
    megabytes,
    whole_minutes,
    word,
)
from dask_gridengine.grid import NodeId


class LSF(Dialect):
    """Ids are ``123[7]``."""

    name: ClassVar[str] = "lsf"
    title: ClassVar[str] = "LSF"
    arrays: ClassVar[bool] = True
    log_name: ClassVar[str] = "$LSB_JOBID.$LSB_JOBINDEX"
    listing: ClassVar[str] = "bjobs"
    deletion: ClassVar[str] = "with bkill"
    advice: ClassVar[Mapping[Cause, str]] = {
        Cause.HOST_LOST: "bhosts shows whether the host answers LSF",
        Cause.NOT_STARTED: "bhist -l {job} has LSF's words; ask the admins",
        Cause.NEVER_ARRIVED: "bhist -l {job} may say more",
        Cause.UNKNOWN: "bhist -l {job} may say more",
        Cause.REFUSED: "LSF ran a job again: job_extra_directives=['-rn'] forbids it",
    }

    def identity(self, environ: Mapping[str, str]) -> tuple[str, int]:
        """LSB_JOBINDEX is 0 for a job that is no array's."""
        return environ["LSB_JOBID"], max(1, int(environ["LSB_JOBINDEX"]))

    def slots(self, environ: Mapping[str, str]) -> int | None:
        """All on one host, by ``span[hosts=1]``."""
        said = environ.get("LSB_DJOB_NUMPROC", "")
        return int(said) if said.isdigit() and int(said) else None

    def queue(self, environ: Mapping[str, str]) -> str:
        """The queue."""
        return environ.get("LSB_QUEUE", "")

    def parse(self, job_id: str) -> NodeId:
        """``123[7]``, or ``123`` of a job by itself."""
        found = re.fullmatch(r"(\d+)\[(\d+)\]", job_id)
        return NodeId(found[1], int(found[2])) if found else NodeId(job_id, 1)

    def form(self, node: NodeId) -> str:
        """``123[7]``."""
        return f"{node.job}[{node.index}]"

    def native(self, wish: Wish) -> str:
        """As after ``bsub``; memory in MB, where a site has not chosen another unit."""
        words: list[str] = []
        if wish.queue:
            words += ["-q", word("queue", wish.queue)]
        if wish.project:
            words += ["-P", word("project", wish.project)]
        if wish.walltime is not None:
            words += ["-W", str(whole_minutes(wish.walltime))]
        if wish.slots > 1:
            words += ["-n", str(wish.slots), "-R", "span[hosts=1]"]
        if wish.memory:
            words += ["-M", str(megabytes(wish.memory))]
        if wish.resource_spec:
            words += ["-R", word("resource_spec", wish.resource_spec)]
        return " ".join([*words, *map(directive, wish.extra_directives)])

    def unsaid(self, wish: Wish) -> list[str]:
        """No parallel environments; memory is asked for by its own option."""
        given = {
            "parallel_environment": wish.parallel_environment,
            "memory_resource": wish.memory_resource,
            "array_concurrency": wish.array_concurrency,
        }
        return [name for name, value in given.items() if value is not None]

    def excluding(self, native: str, hosts: Collection[str]) -> str:
        """``-R select[hname!=a&&hname!=b]``, unless the options choose hosts."""
        if not hosts or "-m" in native.split():
            return native
        wanted = "&&".join(f"hname!={host}" for host in sorted(hosts))
        return " ".join([*native.split(), "-R", f"select[{wanted}]"])
