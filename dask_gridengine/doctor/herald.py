"""Runs first on a node that the doctor has asked for, under whatever Python is there.

Its text travels in the job's command, for on a broken site a node may see neither this
package nor the shared directory. So it is written in what Python 2.7 and all later
ones have in common, and holds nothing that the grid must not show to others.
Arguments: the probe's directory, then addresses of ours as ``host:port``.
"""

if __name__ == "__main__":
    import os
    import signal
    import socket
    import sys

    signal.alarm(90)  # what hangs, as a dead file server may, shall not for ever
    place, addresses = sys.argv[1], sys.argv[2:]
    logs = os.path.join(place, "logs")
    if os.access(os.path.join(logs, "probe.json"), os.R_OK):
        try:
            from dask_gridengine.doctor.on_node import main
        except Exception as exc:  # noqa: BLE001 - a foreign Python raises anything
            python = ".".join(str(part) for part in sys.version_info[:3])
            why = type(exc).__name__ + ": " + str(exc).replace("\n", " ")
            words = ["herald", socket.gethostname(), sys.executable, python, why]
            sys.stderr.write("\t".join(words) + "\n")
            sys.exit(70)  # causes.EXIT_STATUS[Cause.NO_IMPORT]
        sys.exit(main(place))
    # Nobody will read a word of ours; the exit status has to say all.
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), 3).close()
        except Exception:  # noqa: BLE001 - 2.7 has no one name for these
            continue
        sys.exit(78)  # causes.EXIT_STATUS[Cause.UNREADABLE]: not seen, but reached
    sys.exit(69)  # causes.EXIT_STATUS[Cause.UNREACHABLE]: neither seen nor reached
