"""The local launcher: nodes are processes of this machine."""
