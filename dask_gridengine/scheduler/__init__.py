"""Dask's scheduler, with the plugins and hooks that a grid needs."""
