"""Nodes of one kind: submitted, received at the door, followed to their end."""
