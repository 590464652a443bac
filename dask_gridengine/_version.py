"""The version, in one place; a node compares it with its cluster's."""

__version__ = "0.1.0"
