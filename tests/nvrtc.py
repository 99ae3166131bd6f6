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
REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers(?:.*?(\d+) bytes smem)?",
    re.S,
)


@dataclass(frozen=True)
class Resources:
    """What one thread of a kernel uses, in registers and bytes; ``shared`` is what its block does."""

    registers: int
    stack: int
    spilled: int
    shared: int


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


def compiled(
    source: str, architecture: int, defines: tuple[str, ...] = ()
) -> tuple[bytes, dict[str, Resources]]:
    """The cubin for one architecture, and what each kernel of it uses. Warnings are errors."""
    nvrtc = _nvrtc()
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    try:
        options = [
            f"-arch=sm_{architecture}", "-std=c++17", "--ptxas-options=-v",
            *(f"-D{d}" for d in defines),
        ]  # fmt: skip
        given = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        failed = nvrtc.nvrtcCompileProgram(program, len(options), given)
        log = _text(nvrtc, program, "ProgramLog").decode()
        if failed or "warning" in log:
            raise RuntimeError(f"NVRTC refuses a kernel for sm_{architecture}:\n{log}")
        found = {
            name: Resources(int(registers), int(stack), int(stores) + int(loads), int(shared or 0))
            for name, stack, stores, loads, registers, shared in (
                REPORT.search(part).groups()  # type: ignore[union-attr]
                for part in re.findall(r"Compiling entry function.*?Used .*?\n", log, re.S)
            )
        }
        return _text(nvrtc, program, "CUBIN"), found
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
        elif instruction := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", line):
            counts[instruction[1]] = counts.get(instruction[1], 0) + 1
    return found
