"""Dask's own tests of a client, as far as the cluster has a part in them."""

from __future__ import annotations

from tests.contract.upstream import from_dask

ONLY = {
    "test_short_tracebacks": "no frame of ours in a task's traceback",
    "test_traceback_sync": "nor in what a user asks for",
    "test_repr_localcluster": "a client's picture",
    "test_repr_sync": "the same of a synchronous one",
    "test_dashboard_link_cluster": "a class of one's own",
    "test_shutdown_localcluster": "client.shutdown()",
    "test_shutdown_is_quiet_with_cluster": "the same",
    "test_client_is_quiet_cluster_close": "close() with a client",
    "test_quiet_quit_when_cluster_leaves": "the same",
    "test_quiet_client_close_when_cluster_is_closed_before_client": "the same",
    "test_config_inherited_by_subprocess": "Dask's configuration on workers",
}

globals().update(from_dask("distributed/tests/test_client.py", only=ONLY))
