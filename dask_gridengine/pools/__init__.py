"""Several kinds of nodes in one cluster, and which of them waiting work requires."""
