"""Where the nodes look for the user's modules: what the client's ``sys.path`` adds.

A node has its own Python. What it lacks is where the client finds the user's own
modules: the script's directory, PYTHONPATH, what a notebook has appended.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from functools import cache


def import_path(working_directory: str) -> list[str]:
    """Entries of ``sys.path`` that are not part of this Python's installation.

    The standard library and site-packages stay out: a node has those of its own
    Python, and may run another build or another environment than the client.

    Parameters
    ----------
    working_directory
        What relative entries mean; "" leaves them out.

    Returns
    -------
    list of str
        Absolute paths, in their order, each once.
    """
    places = dict.fromkeys(
        os.path.normpath(os.path.join(working_directory, entry))
        for entry in list(sys.path)
        if isinstance(entry, str)  # Python passes over anything else
    )
    return [place for place in places if os.path.isabs(place) and not _installed(place)]


def _installed(place: str) -> bool:
    return any(
        place == directory or place.startswith(directory + os.sep)
        for directory in _installations()
    )


@cache
def _installations() -> tuple[str, ...]:
    prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    stdlib = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    found = [
        *stdlib,
        *(os.path.join(os.path.dirname(place), archive) for place in stdlib),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        *site.getsitepackages(list(dict.fromkeys(prefixes))),
        site.getusersitepackages(),
    ]
    return tuple(dict.fromkeys(os.path.normpath(place) for place in found))
