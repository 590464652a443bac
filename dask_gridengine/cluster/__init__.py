"""`GridEngineCluster`, in the layers of which it is made."""
