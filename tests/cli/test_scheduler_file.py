"""A scheduler file, and the TLS identity beside it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from distributed import Client

from dask_gridengine.bootstrap.certificates import client_identity
from dask_gridengine.cli.scheduler_file import SchedulerFile
from dask_gridengine.errors import OptionError
from tests.clusters import running


def test_a_program_that_knows_only_dask(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client(scheduler_file=F) works with the variables that are printed; only the
    owner can read the key; both files are removed with the cluster."""
    from dask import config

    file = SchedulerFile(tmp_path / "f.json")
    with running(shared, jobs=1) as cluster:
        identity = client_identity(cluster.security)
        scheduler = cluster.scheduler.identity()
        file.write(scheduler, cluster.scheduler_address, tmp_path, identity)
        assert stat.S_IMODE(file.pem.stat().st_mode) == 0o600
        tls = "distributed.comm.tls"
        variables = config.collect_env(file.environment())
        with (
            config.set(
                {
                    f"{tls}.ca-file": config.get(f"{tls}.ca-file", config=variables),
                    f"{tls}.client.cert": config.get(
                        f"{tls}.client.cert", config=variables
                    ),
                }
            ),
            Client(scheduler_file=str(file.path), set_as_default=False) as client,
        ):
            assert client.submit(sum, [1, 2, 3]).result() == 6
    file.remove()
    assert not file.path.exists()
    assert not file.pem.exists()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """A file that is not a scheduler file is not replaced, and the scheduler file of
    another cluster is not removed."""
    path = tmp_path / "f.json"
    path.write_text("precious")
    with pytest.raises(OptionError, match="not a scheduler file"):
        SchedulerFile(path).check()
    with pytest.raises(OptionError, match="no directory"):
        SchedulerFile(tmp_path / "nowhere" / "f.json").check()
    path.write_text(json.dumps({"address": "tcp://x:1"}))
    old = SchedulerFile(path)
    old.check()
    new = SchedulerFile(path)
    new.write({}, "tls://a:1", tmp_path, None)
    old.remove()
    assert path.exists()
