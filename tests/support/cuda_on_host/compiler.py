"""Kernels compiled by g++ and run on the CPU, called as CuPy's raw kernels are."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\(.*?\) )?(\w+)\(')
FLAGS = (
    "-x", "c++", "-std=c++17", "-O1", "-g0", "-fPIC", "-shared", "-U_FORTIFY_SOURCE", "-mpopcnt", "-mf16c",
    "-ffp-contract=off", "-Wno-unknown-pragmas",
)  # fmt: skip
ORDERS = 3


@cache
def _folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"fastconv-cuda-on-host-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    return folder


@cache
def library(source: str, defines: tuple[str, ...]) -> ctypes.CDLL:
    """``source`` as a loaded library; compiled once for this source, these defines and this header."""
    names = KERNEL.findall(source)
    header = (HERE / "cuda_host.h").read_text()
    whole = source + "\n" + "".join(f"HOST_EXPORT({name})\n" for name in names)
    key = hashlib.sha256("\0".join((header, whole, *FLAGS, *defines)).encode()).hexdigest()[:20]
    target = _folder() / f"{key}.so"
    if not target.exists():
        compiler = shutil.which("g++")
        if compiler is None:
            raise FileNotFoundError("g++ is not installed")
        partial = target.with_suffix(f".{os.getpid()}")
        command = [compiler, *FLAGS, *defines, "-include", str(HERE / "cuda_host.h"), "-o", str(partial), "-"]
        done = subprocess.run(command, input=whole, text=True, capture_output=True)
        if done.returncode:
            raise RuntimeError(f"g++ refuses a kernel:\n{done.stderr}")
        partial.replace(target)
    return ctypes.CDLL(str(target))


def launch(
    source: str,
    defines: tuple[str, ...],
    name: str,
    grid: Sequence[int],
    block: Sequence[int],
    arguments: Sequence[Any],
    shared: int,
    order: int,
) -> None:
    """Run kernel ``name``: its ``arguments`` are NumPy arrays and scalars. Threads run in one of 3 orders."""
    run = getattr(library(source, defines), f"launch_{name}")
    run.restype = ctypes.c_char_p
    values = [_value(argument) for argument in arguments]
    pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(v) for v in values])
    sizes = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
    error = run(sizes, ctypes.c_uint(shared), pointers, ctypes.c_uint(len(values)), order)
    if error:
        raise RuntimeError(f"{name}: {error.decode()}")


def _value(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return ctypes.c_void_p(argument.ctypes.data)
    if isinstance(argument, np.generic):
        return (ctypes.c_char * argument.nbytes).from_buffer_copy(argument.tobytes())
    raise TypeError(f"kernels take arrays and NumPy scalars, not {type(argument).__name__}")
