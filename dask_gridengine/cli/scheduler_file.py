"""A scheduler file, for programs that call ``Client(scheduler_file=F)``.

Dask's file holds an address, and with TLS that is not enough. So beside ``F`` there is
``F.pem``, with what a client needs: CA, certificate and key, readable by nobody else.
Dask takes both from its configuration; see `environment`.

Rejected: the identity within ``F``, which Dask would not read; and Dask's
``security-loader``, which it does not call for a scheduler file (distributed 2026.8).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dask_gridengine.bootstrap.messages import TLSIdentity
from dask_gridengine.errors import OptionError


class SchedulerFile:
    """``F`` and ``F.pem``, for the life of a cluster.

    Parameters
    ----------
    path
        Of ``F``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.pem = self.path.with_name(f"{self.path.name}.pem")
        self._id = secrets.token_hex(8)  # tells ours from the next cluster's

    def check(self) -> None:
        """Raise OptionError if it cannot be written, or is something else's."""
        if not self.path.parent.is_dir():
            raise OptionError(f"--scheduler-file: no directory {self.path.parent}")
        if self.path.exists() and not _is_scheduler_file(self.path):
            raise OptionError(
                f"--scheduler-file: {self.path} is there and is no scheduler file; it"
                " is left alone. Name another, or remove it"
            )

    def write(self, identity: Mapping[str, Any], address: str, directory: Path) -> None:
        """Write ``F``, by renaming: a client that waits for it never sees half of it.

        Parameters
        ----------
        identity
            What the scheduler says of itself.
        address
            Where clients reach it.
        directory
            The cluster's own.

        Raises
        ------
        OptionError
            If it cannot be written.
        """
        ours = {"directory": str(directory), "file": self._id}
        body = {**identity, "address": address, "workers": {}, "gridengine": ours}
        _replace(self.path, json.dumps(body, indent=2, default=str))

    def write_identity(self, tls: TLSIdentity) -> None:
        """Write ``F.pem``. Before ``F``: who sees that may need this.

        Raises
        ------
        OptionError
            If it cannot be written.
        """
        _replace(self.pem, "\n".join([tls.key, tls.certificate, tls.ca]))

    def remove(self) -> None:
        """Take both away, unless another cluster has written its own there."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(self.path.read_text())["gridengine"]["file"]
            if told == self._id:
                self.path.unlink()
                self.pem.unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """Variables by which Dask's clients find ``F.pem``."""
        return {
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(self.pem),
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": str(self.pem),
        }


def _is_scheduler_file(path: Path) -> bool:
    try:
        return "address" in json.loads(path.read_text())
    except (OSError, ValueError, TypeError):
        return False


def _replace(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # O_EXCL and the mode at creation: nobody else can ever have it open.
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(text)
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise OptionError(f"cannot write {path}: {exc}") from exc
