"""A node's side, once it is wanted: what the grid granted it, and its workers."""
