"""The DRMAA launcher: its options here, libdrmaa in a child process."""
