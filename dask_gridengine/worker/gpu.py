"""Devices that the grid has given a node, and which of its workers uses which.

Univa and Altair Grid Engine list what they give of a resource map (RSMAP, ``man 5
complex``) in ``SGE_HGR_<complex>``, e.g. ``SGE_HGR_gpu=0 1``. Elsewhere a prolog, or
Slurm, sets ``CUDA_VISIBLE_DEVICES`` itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VISIBLE = "CUDA_VISIBLE_DEVICES"
GRANTED = "SGE_HGR_"
#: Complexes that are devices: "gpu", "GPU", "cuda", "ngpus", "gpu_card", ...
_DEVICE = re.compile(r"gpu|cuda", re.IGNORECASE)


def devices(environ: Mapping[str, str]) -> list[str]:
    """List this node's devices as ``CUDA_VISIBLE_DEVICES`` names them.

    That variable has precedence over a resource map.
    """
    if visible := environ.get(VISIBLE):
        return [part.strip() for part in visible.split(",") if part.strip()]
    for name in sorted(environ):
        if name.startswith(GRANTED) and _DEVICE.search(name[len(GRANTED) :]):
            return [_id(word) for word in re.split(r"[\s,]+", environ[name]) if word]
    return []


def _id(word: str) -> str:
    """Convert a map's entry to CUDA's name: a number, or a device's UUID as it is."""
    if word.startswith(("GPU-", "MIG-")):
        return word
    number = re.search(r"\d+$", word)
    return number[0] if number else word


def share(environ: Mapping[str, str], index: int, processes: int) -> dict[str, str]:
    """Return the variable that shows worker `index` of a node its devices.

    If there are fewer devices than workers, several workers use the same one.
    """
    found = devices(environ)
    mine = found[index::processes] or ([found[index % len(found)]] if found else [])
    return {VISIBLE: ",".join(mine)} if mine else {}
