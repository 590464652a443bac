"""Addresses, ports and connections of this host."""
