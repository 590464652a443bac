"""Devices that the grid granted a node, and which of its workers uses which. Pure.

Univa and Altair Grid Engine say what they granted of a resource map (RSMAP, ``man 5
complex``) in ``SGE_HGR_<complex>``, e.g. ``SGE_HGR_gpu=0 1``. Elsewhere a prolog, or
Slurm, sets ``CUDA_VISIBLE_DEVICES`` itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

VISIBLE = "CUDA_VISIBLE_DEVICES"
GRANTED = "SGE_HGR_"
#: Complexes whose grants are devices: "gpu", "GPU", "cuda", "ngpus", "gpu_card", ...
_DEVICE = re.compile(r"gpu|cuda", re.IGNORECASE)


def devices(environ: Mapping[str, str]) -> list[str]:
    """Devices of this node, as ``CUDA_VISIBLE_DEVICES`` names them; empty if unknown.

    What the site itself has made visible counts; a grant is read where it has not.

    Examples
    --------
    >>> devices({"SGE_HGR_gpu": "gpu2 gpu3"}), devices({"CUDA_VISIBLE_DEVICES": "1"})
    (['2', '3'], ['1'])
    """
    if visible := environ.get(VISIBLE):
        return [part.strip() for part in visible.split(",") if part.strip()]
    for name in sorted(environ):
        if name.startswith(GRANTED) and _DEVICE.search(name[len(GRANTED) :]):
            return [_id(word) for word in re.split(r"[\s,]+", environ[name]) if word]
    return []


def _id(word: str) -> str:
    """A map's entry as CUDA knows it: its number, or a device's UUID as it is."""
    if word.startswith(("GPU-", "MIG-")):
        return word
    number = re.search(r"\d+$", word)
    return number[0] if number else word


def share(environ: Mapping[str, str], index: int, processes: int) -> dict[str, str]:
    """The variable that shows one of a node's workers its devices.

    Where there are fewer devices than workers, several workers use the same one.

    Parameters
    ----------
    environ
        Of the node.
    index
        The worker's place among the workers of its node, from 0.
    processes
        How many those are.

    Examples
    --------
    >>> share({"SGE_HGR_gpu": "0 1 2"}, 1, 2), share({"SGE_HGR_gpu": "5"}, 1, 2)
    ({'CUDA_VISIBLE_DEVICES': '1'}, {'CUDA_VISIBLE_DEVICES': '5'})
    """
    found = devices(environ)
    mine = found[index::processes] or ([found[index % len(found)]] if found else [])
    return {VISIBLE: ",".join(mine)} if mine else {}
