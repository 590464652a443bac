"""The DRMAA launcher's child process: ``dask_gridengine.launchers.drmaa.process``.

When its parent ends, for whatever reason, it deletes every job and then ends too.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from dask_gridengine.launchers.child import ParentPipe, parse_arguments
from dask_gridengine.launchers.commands import run_command
from dask_gridengine.launchers.drmaa.discovery import (
    INSTALL_LIBRARY,
    SETTINGS,
    STATIC_TLS_TUNABLE,
)
from dask_gridengine.launchers.drmaa.library import CallFailed, Library, Unreachable
from dask_gridengine.launchers.drmaa.service import Service
from dask_gridengine.launchers.messages import INTERNAL, READY

INSTALL_PACKAGE = "pip install drmaa, for the Python that runs this"


def main() -> None:
    """Serve the parent until it closes this session or ends."""
    _remove_tunable()
    options = parse_arguments(sys.argv[1:])
    pipe = ParentPipe(options.parent)
    send_error = partial(pipe.send, "reply", id=READY, error=INTERNAL)
    run = partial(run_command, environment=os.environ)
    try:
        library = Library(options.contact, run)
    except ModuleNotFoundError as exc:
        send_error(text=str(exc), advice=INSTALL_PACKAGE)
    except (OSError, RuntimeError, AttributeError) as exc:  # no (usable) libdrmaa
        send_error(text=str(exc), advice=INSTALL_LIBRARY)
    except Unreachable as exc:
        send_error(text=str(exc))
    except CallFailed as exc:  # no cell here
        send_error(text=str(exc), advice=SETTINGS)
    else:
        Service(pipe, library, options).run()


def _remove_tunable() -> None:
    """Restore the user's ``GLIBC_TUNABLES``, which ``-V`` copies into the jobs."""
    tunables = os.environ.pop("GLIBC_TUNABLES", "")
    # Ours is the last one; the user may have set the same tunable before it.
    if users := tunables.removesuffix(STATIC_TLS_TUNABLE).removesuffix(":"):
        os.environ["GLIBC_TUNABLES"] = users


if __name__ == "__main__":
    main()
