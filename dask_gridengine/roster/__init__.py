"""Every node there is or was, and the pictures in plain values that are made of it."""
