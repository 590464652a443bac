"""A scheduler file, and beside it what a client needs with TLS."""

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
    """Client(scheduler_file=F) works with the variables that are printed; the key is
    for the user's eyes alone; both files go with the cluster."""
    from dask import config

    file = SchedulerFile(tmp_path / "f.json")
    with running(shared, jobs=1) as cluster:
        identity = client_identity(cluster.security)
        assert identity is not None
        file.write_identity(identity)
        place = cluster.pool().directory
        file.write(cluster.scheduler.identity(0), cluster.scheduler_address, place)
        assert stat.S_IMODE(file.pem.stat().st_mode) == 0o600
        tls = "distributed.comm.tls"
        told = config.collect_env(file.environment())
        with (
            config.set(
                {
                    f"{tls}.ca-file": config.get(f"{tls}.ca-file", config=told),
                    f"{tls}.client.cert": config.get(f"{tls}.client.cert", config=told),
                }
            ),
            Client(scheduler_file=str(file.path), set_as_default=False) as client,
        ):
            assert client.submit(sum, [1, 2, 3]).result() == 6
    file.remove()
    assert not file.path.exists()
    assert not file.pem.exists()


def test_another_s_file_is_left_alone(tmp_path: Path) -> None:
    """Neither what is no scheduler file is overwritten, nor the next cluster's
    removed."""
    path = tmp_path / "f.json"
    path.write_text("precious")
    with pytest.raises(OptionError, match="is left alone"):
        SchedulerFile(path).check()
    with pytest.raises(OptionError, match="no directory"):
        SchedulerFile(tmp_path / "nowhere" / "f.json").check()
    path.write_text(json.dumps({"address": "tcp://x:1"}))
    old = SchedulerFile(path)
    old.check()
    new = SchedulerFile(path)
    new.write({}, "tls://a:1", tmp_path)
    old.remove()
    assert path.exists()
