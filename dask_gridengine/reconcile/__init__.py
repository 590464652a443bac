"""Keeping the number: replacements, places in the queue, walltimes, gentle ends."""
