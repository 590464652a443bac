"""What tests expect of some versions of Dask only."""

from __future__ import annotations

import distributed

VERSION = tuple(map(int, distributed.__version__.split(".")[:2]))

#: Whether Dask may lose the error of a worker that cannot start; its log has it.
NANNY_LOSES_ERRORS = VERSION < (2026, 8)

#: Whether the defects of SpecCluster are those that tests describe. In older versions
#: they remain, and a few fail in another way.
SPEC_CLUSTER_IS_CURRENT = VERSION >= (2026, 6)
