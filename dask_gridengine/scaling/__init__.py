"""How many nodes: a user's number, or one that follows the work."""
