"""CUDA C++ to machine code with NVIDIA's wheels alone: no GPU, no driver, no CuPy.

``nvidia-cuda-nvrtc`` compiles and reports registers and spills; ``nvidia-cuda-nvdisasm`` shows the
instructions.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
OPTIONS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")
"""The package's and those that CuPy adds: floats below 2**-126 become 0 wherever an instruction allows it."""
ENTRY = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers(?:[^\n]*?(\d+) bytes smem)?",
    re.S,
)
INSTRUCTION = re.compile(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")


@dataclass(frozen=True)
class Resources:
    """What one thread of a kernel uses, in registers and bytes; ``shared`` is what its block does."""

    registers: int
    stack: int
    spilled: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    """Machine code for one architecture, the PTX that it was made from, and what each kernel uses."""

    cubin: bytes
    ptx: str
    kernels: dict[str, Resources]


def _wheel_file(pattern: str) -> Path:
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec else []
    found = sorted(path for folder in folders or [] for path in Path(folder).glob(pattern))
    if not found:
        raise ImportError(f"no {pattern}: pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm")
    return found[-1]


@cache
def _nvrtc() -> ctypes.CDLL:
    library = _wheel_file("*/lib/libnvrtc.so.*[0-9]")
    for builtins in library.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(library))


def check() -> None:
    """ImportError if one of the wheels is not installed."""
    _nvrtc()
    _wheel_file("*/bin/nvdisasm")


def compiled(source: str, architecture: int, defines: tuple[str, ...] = ()) -> Compiled:
    """``source`` for one architecture. Warnings are errors."""
    nvrtc = _nvrtc()
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    try:
        options = [f"-arch=sm_{architecture}", *OPTIONS, *(f"-D{define}" for define in defines)]
        given = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
        log = _text(nvrtc, program, "ProgramLog").decode()
        if failed or re.search("warning|error|performance loss", log, re.I):
            raise RuntimeError(f"NVRTC refuses a kernel for sm_{architecture} with {defines}:\n{log}")
        kernels = {
            name: Resources(int(registers), int(stack), int(stores) + int(loads), int(shared or 0))
            for name, stack, stores, loads, registers, shared in ENTRY.findall(log)
        }
        if len(kernels) != log.count("Compiling entry function"):
            raise RuntimeError(f"NVRTC reports in words that are not understood:\n{log}")
        return Compiled(_text(nvrtc, program, "CUBIN"), _text(nvrtc, program, "PTX").decode(), kernels)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw if what == "CUBIN" else buffer.value


def instructions(cubin: bytes) -> dict[str, dict[str, int]]:
    """How often each instruction, with its modifiers, stands in each kernel's machine code."""
    program = _wheel_file("*/bin/nvdisasm")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listing = subprocess.run(
            [program, "-c", file.name], capture_output=True, text=True, check=True
        ).stdout
    found: dict[str, dict[str, int]] = {}
    counts: dict[str, int] = {}
    for line in listing.splitlines():
        if kernel := re.match(r"\.text\.(\w+):", line):
            counts = found.setdefault(kernel[1], {})
        elif instruction := INSTRUCTION.match(line):
            counts[instruction[1]] = counts.get(instruction[1], 0) + 1
    return found
