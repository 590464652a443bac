"""Names that are not options: of dask-jobqueue, of earlier versions, and mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dask

from dask_gridengine.dask_config import DEFAULTS, SECTION
from dask_gridengine.errors import UnknownOption

#: Keys beside the options: `gridengine.map` reads its own.
OTHER_KEYS = ("map",)

#: Options of dask-jobqueue that have another name here or do not exist, and what to
#: use instead.
OF_JOBQUEUE = {
    "account": "use project=",
    "cancel_command_extra": "jobs are cancelled through DRMAA, without a command",
    "config_name": "options are read from 'gridengine' in Dask's configuration",
    "dashboard_address": (
        "use dashboard_port=, or scheduler_options={'dashboard_address': ...}"
    ),
    "env_extra": "use environment={'NAME': 'value'}, or job_script_prologue=[...]",
    "extra": "use resources= or worker_options={...}",
    "header_skip": "jobs have no script with a header: leave out the option itself",
    "job_cpu": "use cores=",
    "job_directives_skip": "jobs have no header: leave out the option itself",
    "job_extra": "use job_extra_directives=[...]",
    "job_mem": "use memory=, and memory_resource= to request it from the grid",
    "job_script_epilogue": (
        "no line runs after Python; use teardown() of a distributed.WorkerPlugin"
    ),
    "protocol": "TLS is on by default; security=False turns it off",
    "scheduler_cls": "the scheduler's class is fixed; use scheduler_options={...}",
    "shared_temp_directory": "use shared_directory=",
    "shebang": "use python= and job_script_prologue=[...]",
    "submit_command_extra": "use job_extra_directives=[...]",
    "worker_command": "use worker_options={...}",
    "worker_extra_args": (
        "use resources={'GPU': 1} for '--resources GPU=1', and worker_options={...} for"
        " other arguments of a worker"
    ),
}

#: Options of earlier versions, and what replaces each.
REMOVED = {
    "array_concurrency": "use job_extra_directives=['-tc 10']",
    "bootstrap_contact_address": (
        "contact_address= holds for both ports; forward bootstrap_port= under the same"
        " number"
    ),
    "bundle_imports": (
        "nodes import from where the packages are installed; docs/scaling.md describes"
        " what helps a slow file server"
    ),
    "close_timeout": "close() waits 30 s, or drain_timeout= if that is shorter",
    "dialect": (
        "the batch system is recognised; if it is not: export"
        " GRIDENGINE_BATCH_SYSTEM=slurm"
    ),
    "head_start": "nodes of one host import at the same time",
    "memory_resource_per": "leave it out: it is read from qconf -sc",
    "nanny_port": "Nannies use worker_port=, with a range of two ports for each worker",
    "place_grace": "adapt() keeps queued jobs 60 times as long as idle_grace=",
    "start_method": "leave it out: workers are forked, or spawned where that fails",
    "task_soft_limit": "the dashboard shows how long each task has been running",
    "task_hard_limit": (
        "a thread cannot be ended from outside: let the function end itself, or run it"
        " in a process that it can kill (subprocess.run(..., timeout=))"
    ),
}


def refuse_unknown(
    given: Iterable[str], names: Sequence[str], taker: str = "GridEngineCluster"
) -> None:
    """Raise `UnknownOption` for the first name that is not one of `names`."""
    for name in given:
        if name not in names:
            raise UnknownOption(
                f"{taker} has no option {name!r}", hint=_advice(name, names)
            )


def refuse_unknown_keys() -> None:
    """Raise `UnknownOption` for a key in Dask's configuration that is no option."""
    if mistakes := unknown_keys(dask.config.get(SECTION, None) or {}):
        raise UnknownOption(
            f"{SECTION}.{mistakes[0]} in Dask's configuration is not an option",
            hint=f"{advice_for_key(mistakes[0])} (dask gridengine config shows where it"
            " is set)",
        )


def unknown_keys(section: Mapping[str, Any]) -> list[str]:
    """List the keys of a section that are no options; None sets nothing."""
    known = {*DEFAULTS[SECTION], *OTHER_KEYS}
    given = (str(key) for key, value in section.items() if value is not None)
    return sorted(key for key in given if key.replace("_", "-") not in known)


def advice_for_key(key: str) -> str:
    """Say what to write instead of a key that is no option."""
    return _advice(key.replace("-", "_"), list(DEFAULTS[SECTION]))


def _advice(name: str, names: Sequence[str]) -> str:
    if advice := OF_JOBQUEUE.get(name) or REMOVED.get(name):
        return advice
    if near := difflib.get_close_matches(name, names, n=1):
        return f"did you mean {near[0]!r}?"
    return f"there are: {', '.join(sorted(names))}"
