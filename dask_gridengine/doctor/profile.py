"""The site profile: what this site needs, as a file of Dask's configuration."""

from __future__ import annotations

import socket
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dask_gridengine._version import __version__
from dask_gridengine.doctor.finding import Finding, Setting

GIVEN = "given to the doctor, whose probe ran with it"


def settings_of(findings: Sequence[Finding], given: Mapping[str, Any]) -> list[Setting]:
    """What the site needs, and what was given for it; each key once.

    Parameters
    ----------
    findings
        Of the examination.
    given
        Options of the command line that are to be kept.
    """
    own = [
        Setting(key=name.replace("_", "-"), value=value, because=GIVEN)
        for name, value in given.items()
        if value is not None
    ]
    found = [setting for finding in findings for setting in finding.settings]
    return list({setting.key: setting for setting in [*found, *own]}.values())


def render(settings: Sequence[Setting]) -> str:
    """The profile's text, with the evidence as comments."""
    head = [
        f"# What `dask gridengine doctor` of dask-gridengine {__version__} found on"
        f" {socket.gethostname()}.",
        "# Dask reads it from ~/.config/dask/, or from where DASK_CONFIG says.",
    ]
    body = [line for setting in settings for line in _lines(setting)]
    if all(setting.optional for setting in settings):
        return "\n".join([*head, "gridengine: {}  # no settings are needed", *body, ""])
    return "\n".join([*head, "gridengine:", *body, ""])


def _lines(setting: Setting) -> list[str]:
    comment = textwrap.wrap(" ".join(setting.because.split()), 84)
    value = yaml.safe_dump({setting.key: setting.value}, default_flow_style=False)
    margin = "  # " if setting.optional else "  "
    return [
        *(f"  # {line}" for line in comment),
        textwrap.indent(value.rstrip(), margin),
    ]


def write(path: Path, text: str) -> None:
    """Write it as a new file; an older one may hold what somebody wrote by hand.

    Raises
    ------
    OSError
        If there is one, or it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x") as file:
        file.write(text)
