"""CURVE keys, and the one file that holds them for the nodes.

Grid Engine shows every user the arguments and the environment of a job, and its spool
is world-readable. So the only secret of a node is in a file of mode 0600, as Jupyter
does it, in a directory of mode 0700 on a file system that the nodes share.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dask_gridengine.errors import BootstrapError, OptionError
from dask_gridengine.process_identity import ProcessIdentity

FILE_NAME = "connection.json"
_OTHER = (
    "set shared_directory= (gridengine.shared-directory in Dask's config) to a"
    " directory that you can write to and that the nodes see"
)


@dataclass(frozen=True, kw_only=True)
class CurveKeys:
    """A CURVE key pair in Z85 text (40 letters each)."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> CurveKeys:
        """Make a new pair from libsodium's random source."""
        import zmq

        public, secret = zmq.curve_keypair()
        return cls(public=public.decode(), secret=secret.decode())


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The cluster's addresses and keys, which a node reads first."""

    cluster: str  # name, for messages
    addresses: tuple[str, ...]  # host:port, the likeliest first
    server_key: str  # the cluster's public CURVE key
    node_keys: CurveKeys
    timeout: float  # seconds without an answer after which a node gives up
    # The cluster's process, which `dask gridengine ps` needs for a cluster that does
    # not answer.
    host: str = field(default_factory=socket.gethostname)
    process: ProcessIdentity = field(default_factory=ProcessIdentity.of)
    started: float = field(default_factory=time.time)  # seconds since the epoch
    pool: str = ""  # whose file this is; "" where there is only one kind of nodes
    launcher: str = "drmaa"  # or "process": its nodes are processes of its host
    batch_system: str = "gridengine"  # of the grid that starts the nodes

    @property
    def pid(self) -> int:
        """Process id of the cluster, on its host."""
        return self.process.pid

    def write(self, directory: Path) -> Path:
        """Write a new file that only its owner can read; returns its path.

        Raises FileExistsError if there is one: clusters never share a directory; and
        OptionError if it cannot be written, e.g. because the disk is full.
        """
        path = directory / FILE_NAME
        try:
            # O_EXCL and the mode at creation: no moment in which others could read it.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump(asdict(self), file)
                file.flush()
                os.fsync(file.fileno())  # a node on another host reads it next
        except FileExistsError:
            raise
        except OSError as exc:
            raise OptionError(f"cannot write {path}: {exc}", hint=_OTHER) from exc
        return path

    @classmethod
    def read(cls, path: Path) -> Connection:
        """Read a file; BootstrapError if it is invalid or readable by others."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            body = json.loads(path.read_text())
        except FileNotFoundError as exc:
            raise BootstrapError(
                f"connection file {path} does not exist here: either the cluster is"
                " closed, or the nodes do not share this file system",
                hint="set shared_directory= to a directory that the nodes see",
            ) from exc
        except (OSError, ValueError) as exc:
            raise BootstrapError(f"cannot read connection file {path}: {exc}") from exc
        if mode & 0o077:
            raise BootstrapError(
                f"connection file {path} is readable by others (mode {mode:o}), so its"
                " keys may be stolen",
                hint="start a new cluster and leave the file at mode 600",
            )
        try:
            return cls(
                node_keys=CurveKeys(**body.pop("node_keys")),
                addresses=tuple(body.pop("addresses")),
                process=ProcessIdentity(**body.pop("process")),
                **body,
            )
        except (TypeError, KeyError, AttributeError) as exc:
            raise BootstrapError(f"{path} is not a connection file: {exc!r}") from exc


def make_private_directory(parent: Path, name: str) -> Path:
    """Make a new directory ``parent/name-...`` with mode 0700, or raise OptionError.

    The mode does not depend on the umask, and no two clusters get the same directory.
    """
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
        path.chmod(0o700)
    except OSError as exc:
        raise OptionError(
            f"cannot make {parent / name} for the connection file: {exc}",
            hint=_OTHER,
        ) from exc
    return path
