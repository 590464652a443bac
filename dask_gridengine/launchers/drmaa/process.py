"""The DRMAA launcher's child, run as ``-m dask_gridengine.launchers.drmaa.process``.

It speaks the lines of `protocol` with its parent and DRMAA with Grid Engine. When its
parent goes, however it goes, it deletes every job and then goes too.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from dask_gridengine.launchers.child import ParentPipe, parse_arguments
from dask_gridengine.launchers.commands import run_command
from dask_gridengine.launchers.drmaa.discovery import TUNABLE
from dask_gridengine.launchers.drmaa.job_list_poller import ListedLibrary
from dask_gridengine.launchers.drmaa.library import Failed, Library, Unreachable
from dask_gridengine.launchers.drmaa.service import Service


def main() -> None:
    """Run the session until its parent closes it or goes."""
    _remove_tunable()
    options = parse_arguments(sys.argv[1:])
    pipe = ParentPipe(options.parent)
    try:
        library = _open(options.contact, options.dialect)
    except ModuleNotFoundError as exc:
        pipe.send("failed", lacking="package", text=str(exc))
    except (
        OSError,
        RuntimeError,
        AttributeError,
    ) as exc:  # AttributeError: no libdrmaa
        pipe.send("failed", lacking="library", text=str(exc))
    except Unreachable as exc:
        pipe.send("failed", lacking="master", text=str(exc))
    except Failed as exc:
        pipe.send("failed", lacking="cell", text=str(exc))
    else:
        Service(pipe, library, options).run()


def _open(contact: str | None, dialect: str | None) -> Library:
    library = Library(contact, dialect)
    if library.dialect.reliable_notices:
        return library
    library.exit()  # of each process there is one session at a time
    run = partial(run_command, environment=os.environ)
    return ListedLibrary(contact, dialect, run)


def _remove_tunable() -> None:
    """Restore the user's ``GLIBC_TUNABLES``, which ``-V`` copies into the jobs."""
    tunables = os.environ.pop("GLIBC_TUNABLES", "")
    # Ours is the last one; the user may have set the same tunable before it.
    if users := tunables.removesuffix(TUNABLE).removesuffix(":"):
        os.environ["GLIBC_TUNABLES"] = users


if __name__ == "__main__":
    main()
