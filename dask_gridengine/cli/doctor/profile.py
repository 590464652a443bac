"""The profile: the settings that a site needs, as a file of Dask's configuration."""

from __future__ import annotations

import socket
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dask_gridengine._version import __version__
from dask_gridengine.cli.doctor.finding import Finding, Setting


def settings_of(findings: Sequence[Finding], given: Mapping[str, Any]) -> list[Setting]:
    """Combine what the site needs with the user's options; each key once."""
    found = [setting for finding in findings for setting in finding.settings]
    own = [
        Setting(
            key=name.replace("_", "-"),
            value=value,
            reason="an option of the doctor, whose cluster ran with it",
        )
        for name, value in given.items()
        if name != "launcher"
    ]
    return list({setting.key: setting for setting in [*found, *own]}.values())


def render(settings: Sequence[Setting]) -> str:
    """Return the profile's text, with the reasons as comments."""
    head = [
        f"# Made by `dask gridengine doctor` of dask-gridengine {__version__} on"
        f" {socket.gethostname()}.",
        "# Dask reads it from ~/.config/dask/, or from where DASK_CONFIG says.",
    ]
    empty = all(setting.optional for setting in settings)
    top = "gridengine:" + (" {}  # no settings are needed" if empty else "")
    body = [line for setting in settings for line in _lines(setting)]
    return "\n".join([*head, top, *body, ""])


def _lines(setting: Setting) -> list[str]:
    comment = textwrap.wrap(" ".join(setting.reason.split()), 84)
    value = yaml.safe_dump({setting.key: setting.value}, default_flow_style=False)
    margin = "  # " if setting.optional else "  "
    return [
        *(f"  # {line}" for line in comment),
        textwrap.indent(value.rstrip(), margin),
    ]


def write(path: Path, text: str) -> None:
    """Write a new file; never over another, which may be written by hand.

    Raises
    ------
    OSError
        If it exists or cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x") as file:
        file.write(text)
