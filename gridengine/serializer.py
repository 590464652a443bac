"""How functions and arguments travel: cloudpickle, which also takes what plain pickle
refuses: lambdas, closures, and what is defined in ``__main__`` or a notebook.
"""

from __future__ import annotations

from pickle import HIGHEST_PROTOCOL

from cloudpickle import dumps, loads

__all__ = ["HIGHEST_PROTOCOL", "dumps", "loads"]
