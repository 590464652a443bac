"""A scheduler file, for programs that call ``Client(scheduler_file=FILE)``.

Dask's file holds an address; with TLS a client also needs an identity. So beside
``FILE`` there is ``FILE.pem`` with CA, certificate and key, readable only by its owner.
Dask reads their path from its configuration; see `SchedulerFile.environment`.

Rejected: the identity in ``FILE``, which Dask would not read; and Dask's
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
    """``FILE`` and ``FILE.pem``, which exist as long as the cluster runs."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.pem = self.path.with_name(f"{self.path.name}.pem")
        self._directory = ""  # of the cluster; another one may replace the file

    def check(self) -> None:
        """Raise OptionError if it cannot be written, or would replace another file."""
        if not self.path.parent.is_dir():
            raise OptionError(f"--scheduler-file: no directory {self.path.parent}")
        if self.path.exists() and not _is_scheduler_file(self.path):
            raise OptionError(
                f"--scheduler-file: {self.path} exists and is not a scheduler file",
                hint="remove it, or use another name",
            )

    def write(
        self,
        scheduler: Mapping[str, Any],
        address: str,
        directory: Path,
        tls: TLSIdentity | None,
    ) -> None:
        """Write both files; OptionError if that fails.

        The identity comes first: a client that sees ``FILE`` may need it.
        """
        if tls is not None:
            _write(self.pem, "\n".join([tls.key, tls.certificate, tls.ca]))
        self._directory = str(directory)
        ours = {"directory": self._directory}
        body = {**scheduler, "address": address, "workers": {}, "gridengine": ours}
        _write(self.path, json.dumps(body, indent=2, default=str))

    def remove(self) -> None:
        """Remove both files, unless another cluster has replaced them."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            ours = json.loads(self.path.read_text())["gridengine"]["directory"]
            if ours == self._directory:
                self.path.unlink()
                self.pem.unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """Return the variables by which Dask's clients find ``FILE.pem``."""
        return {
            "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(self.pem),
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT": str(self.pem),
        }


def _is_scheduler_file(path: Path) -> bool:
    try:
        return "address" in json.loads(path.read_text())
    except (OSError, ValueError, TypeError):
        return False


def _write(path: Path, text: str) -> None:
    """Write a file that only its owner can read; it appears complete, by renaming."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        # O_EXCL and the mode at creation: no other user can ever open it.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(text)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise OptionError(f"cannot write {path}: {exc}") from exc
