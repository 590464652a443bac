"""The channel over which a node gets its allocation before Dask runs."""
