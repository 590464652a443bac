"""Dask's scheduler, with what a grid asks of it."""
