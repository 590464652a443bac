"""Libraries that bring their own way of using a Dask client."""

from __future__ import annotations

import os

import joblib
import numpy as np
import xarray as xr
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score

from tests.ecosystem.habits import Site


def joblib_backend(site: Site) -> None:
    """joblib's backend "dask" runs in the workers, not here."""
    with joblib.parallel_config(backend="dask", client=site.client):
        calls = (joblib.delayed(os.getpid)() for _ in range(10))
        pids = set(joblib.Parallel()(calls))
    assert pids <= set(site.client.run(os.getpid).values())


def joblib_scattered(site: Site) -> None:
    """Data scattered beforehand is used by all calls."""
    x = np.arange(1000.0)
    with joblib.parallel_backend("dask", client=site.client, scatter=[x]):
        sums = joblib.Parallel()(joblib.delayed(np.multiply)(x, i) for i in range(4))
    np.testing.assert_array_equal(sums, [x * i for i in range(4)])


def scikit_learn(site: Site) -> None:
    """Cross validation and a grid search find what they find without a cluster."""
    x, y = make_classification(n_samples=200, n_features=5, random_state=0)
    forest = RandomForestClassifier(n_estimators=5, random_state=0)
    search = GridSearchCV(forest, {"max_depth": [1, 3]}, cv=3)
    alone = cross_val_score(forest, x, y, cv=3)
    with joblib.parallel_config(backend="dask", client=site.client):
        np.testing.assert_array_equal(cross_val_score(forest, x, y, cv=3), alone)
        search.fit(x, y)
    found = search.best_params_
    assert found == search.fit(x, y).best_params_


def xarrays(site: Site) -> None:
    """A chunked data set is grouped, averaged and kept on the workers."""
    values = np.arange(365 * 4.0).reshape(365, 4)
    data = xr.Dataset(
        {"t": (("day", "place"), values)},
        coords={"day": np.arange(365)},
    )
    ours = data.chunk({"day": 50}).groupby(data.day % 7).mean().compute()
    xr.testing.assert_allclose(ours, data.groupby(data.day % 7).mean())
    kept = data.chunk({"day": 50}).persist()
    xr.testing.assert_allclose((kept.t * 2).sum().compute(), (data.t * 2).sum())
