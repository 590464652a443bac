"""``dask gridengine doctor``: the examination behind the command."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dask_gridengine.doctor.examination import Examination
from dask_gridengine.doctor.finding import Status
from dask_gridengine.doctor.profile import render, settings_of, write
from dask_gridengine.doctor.report import choose, summary
from dask_gridengine.options import Options

INTERRUPTED = 130  # as shells say it: 128 and SIGINT


def run(
    given: Mapping[str, Any],
    *,
    count: int,
    timeout: float,
    profile: Path | None,
    as_json: bool,
) -> int:
    """Examine this site; returns the exit status.

    Parameters
    ----------
    given
        Options of a cluster; None is what Dask's configuration says.
    count
        Nodes of the probe.
    timeout
        Seconds these may queue.
    profile
        Where to write the site's profile; None does not.
    as_json
        Whether a program reads it.

    Raises
    ------
    OptionError
        If an option's value makes no sense; nothing was looked at.
    """
    options = Options.resolve(given)
    # What goes wrong is in the findings; a library's log lines would tear the table.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="distributed")
    report = choose(as_json=as_json)
    examination = Examination(
        options=options,
        count=count,
        timeout=timeout,
        tell=report.tell,
        note=report.note,
    )
    interrupted = False
    try:
        asyncio.run(examination.run())
    except KeyboardInterrupt:
        interrupted = True
    findings = examination.book.findings
    kept = {name: value for name, value in given.items() if name != "launcher"}
    settings = settings_of(findings, kept)
    end = summary(findings, interrupted=interrupted)
    note_success = not interrupted and examination.book.status is not Status.FAIL
    text = render(settings) if note_success else ""
    if profile is not None and note_success:
        write(profile, text)
        end, text = f"{end}\nThe site's profile is in {profile}.", ""
    elif profile is not None:
        end += "\nNo profile was written: it would not be proven."
    elif all(setting.optional for setting in settings):
        text = ""
    elif text:
        end += "\nTo keep the profile below: --profile FILE."
    report.close(end, findings, text)
    if interrupted:
        return INTERRUPTED
    return 1 if examination.book.status is Status.FAIL else 0
