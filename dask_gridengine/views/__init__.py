"""A cluster in a notebook, and its run as one picture."""
