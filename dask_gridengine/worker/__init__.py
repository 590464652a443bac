"""A node's side after its hello: what the grid has given it, and its workers."""
