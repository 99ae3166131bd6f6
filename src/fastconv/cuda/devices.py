"""Which GPUs there are, and that the arrays of a call lie on the current one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy

NEEDED = "an NVIDIA GPU of compute capability 7.5 or later, and a driver for CuPy's version of CUDA"


def check_usable() -> None:
    """RuntimeError where there is no GPU, or no driver for it."""
    try:
        if cupy.cuda.runtime.getDeviceCount():
            return
        found = "there is none"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        found = str(error)
    raise RuntimeError(
        f"fastconv.cuda: CuPy {cupy.__version__} can use no GPU here ({found}). Arrays of cupy need "
        f"{NEEDED}; arrays of numpy need neither."
    )


def names() -> dict[str, str]:
    """Every GPU by its number: its name and compute capability."""
    found = {}
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        name = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
        capability = cupy.cuda.Device(number).compute_capability
        found[f"device {number}"] = f"{name}, compute capability {capability[:-1]}.{capability[-1]}"
    return found


def check_current(operation: str, operands: Sequence[Any]) -> None:
    """All arrays of a call have to be on one device, and that has to be CuPy's current one."""
    found = sorted({x.device.id for x in operands if isinstance(x, cupy.ndarray)})
    if len(found) > 1:
        raise TypeError(
            f"{operation}: got arrays on the devices {', '.join(map(str, found))}; all arrays of one call "
            "must be on one device, because fastconv never copies between them silently. Copy with "
            f"cupy.asarray(x), inside `with cupy.cuda.Device({found[0]}):`."
        )
    current = cupy.cuda.Device().id
    if found and found[0] != current:
        raise ValueError(
            f"{operation}: got arrays on device {found[0]}, but the current device is {current}, and results "
            f"are made there. Call it inside `with cupy.cuda.Device({found[0]}):`."
        )
