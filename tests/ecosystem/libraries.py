"""Libraries that bring their own way of using a Dask client."""

from __future__ import annotations

import os
import warnings
from typing import Any
from urllib.parse import urlparse

import dask.array as da
import joblib
import numpy as np
import xarray as xr
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, SGDClassifier
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


def xgboost(site: Site) -> None:
    """Its classifier is trained by the workers, and they predict."""
    from xgboost.collective import Config
    from xgboost.dask import DaskXGBClassifier

    # What it finds by itself is the address of the default route, which a cell lacks.
    host = urlparse(site.cluster.scheduler_address).hostname
    model = DaskXGBClassifier(n_estimators=5, coll_cfg=Config(tracker_host_ip=host))
    model.client = site.client
    learns(model)


def lightgbm(site: Site) -> None:
    """Its classifier is trained by the workers, and they predict."""
    from lightgbm import DaskLGBMClassifier

    learns(DaskLGBMClassifier(n_estimators=5, client=site.client, verbose=-1))


def learns(model: Any) -> None:
    """Have a model learn from chunked data, and predict for them."""
    x, y = make_classification(n_samples=400, n_features=5, random_state=0)
    chunked, labels = da.from_array(x, (100, 5)), da.from_array(y, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # LightGBM, of its own defaults
        model.fit(chunked, labels)
        predicted = model.predict(chunked).compute()
    assert (predicted == y).mean() > 0.8


def dask_ml(site: Site) -> None:
    """Its estimators fit and predict on the workers, as without a cluster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dask-ml 2025.1 is older than all it uses
        from dask_ml.cluster import KMeans
        from dask_ml.preprocessing import StandardScaler
        from dask_ml.wrappers import Incremental, ParallelPostFit

        x, y = make_classification(n_samples=400, n_features=5, random_state=0)
        chunked, labels = da.from_array(x, 100), da.from_array(y, 100)
        alone = LogisticRegression().fit(x, y)
        predicted = ParallelPostFit(alone).predict(chunked).compute()
        np.testing.assert_array_equal(predicted, alone.predict(x))
        scaled = StandardScaler().fit_transform(chunked)
        np.testing.assert_allclose(scaled.std(axis=0).compute(), 1)
        learner = SGDClassifier(random_state=0)
        learner = Incremental(learner).fit(chunked, labels, classes=[0, 1])
        assert learner.score(chunked, labels) > 0.6
        means = KMeans(n_clusters=2, random_state=0).fit(chunked)
        assert set(means.labels_.compute()) == {0, 1}


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
