"""``dask gridengine doctor``: check a site, then start a small cluster on it."""
