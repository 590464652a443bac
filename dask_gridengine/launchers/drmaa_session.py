"""The DRMAA launcher's child, run as ``-m dask_gridengine.launchers.drmaa_session``.

It speaks the lines of `protocol` with its parent and DRMAA with Grid Engine. When its
parent goes, however it goes, it deletes every job and then goes too.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dask_gridengine.launchers.child import ParentPipe, parse_arguments

if TYPE_CHECKING:
    from dask_gridengine.launchers.drmaa_library import Library

# Debian's libdrmaa brings a jemalloc that needs more static TLS than a Python has left;
# glibc reads this when a process starts and never again.
TUNABLE = "glibc.rtld.optional_static_tls=2097152"


class _Unfit(Exception):
    """There is no Grid Engine to be had from here."""

    def __init__(self, lacking: str, text: str) -> None:
        super().__init__(lacking, text)
        self.lacking, self.text = lacking, text


def main() -> None:
    """Run the session until its parent closes it or goes."""
    _forget_tunable()
    options = parse_arguments(sys.argv[1:])
    pipe = ParentPipe(options.parent)
    try:
        library = _open_library(options.contact)
    except _Unfit as exc:
        pipe.send("failed", lacking=exc.lacking, text=exc.text)
        return
    from dask_gridengine.launchers.drmaa_service import Service

    Service(pipe, library, options).run()


def _forget_tunable() -> None:
    """Take it from our environment, which ``-V`` would hand on to the jobs."""
    tunables = os.environ.pop("GLIBC_TUNABLES", "").split(":")
    if rest := [tunable for tunable in tunables if tunable not in ("", TUNABLE)]:
        os.environ["GLIBC_TUNABLES"] = ":".join(rest)


def _open_library(contact: str | None) -> Library:
    try:
        from dask_gridengine.launchers import drmaa_library
    except ModuleNotFoundError as exc:
        raise _Unfit("package", str(exc)) from exc
    except (OSError, RuntimeError, AttributeError) as exc:
        raise _Unfit("library", str(exc)) from exc
    try:
        return drmaa_library.Library(contact)
    except drmaa_library.Unreachable as exc:
        raise _Unfit("master", str(exc)) from exc
    except drmaa_library.Failed as exc:
        raise _Unfit("cell", str(exc)) from exc


if __name__ == "__main__":
    main()
