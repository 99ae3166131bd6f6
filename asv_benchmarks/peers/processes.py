"""Rows that need a process of their own: start, growth, peak memory, other machines, one thread."""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import replace
from functools import partial

from peers.elsewhere import measured_elsewhere, python
from peers.growth import OPERATIONS
from peers.table import Line, Row, Settings, Target, judged
from peers.threads import ONE_THREAD
from peers.xnor import INT8

START, GROWTH = "Start", "Growth and memory"
FIRST_CALLS = {
    "xnor_conv2d": "fastconv.xnor_conv2d(np.ones((1, 64, 9, 9), 'f4'), np.ones((8, 64, 3, 3), 'f4'))",
    "correlate2d": "fastconv.correlate2d(np.ones((9, 9), 'f4'), np.ones((3, 3), 'f4'))",
    "pack_signs": "fastconv.pack_signs(np.ones(99, 'f4'))",
}
COLD, WARM = Target(5, "s", at_most=True), Target(0.5, "s", at_most=True)
IMPORT, FLAT, ROOM = (
    Target(0.05, "s", at_most=True),
    Target(1.3, "×", at_most=True),
    Target(64, "MiB", at_most=True),
)
# numba reads the name of a CPU, and for lack of a list its features from the CPU that is really there; an
# empty list means those of the name. OpenBLAS has names of its own; "Prescott" knows no more than SSE3.
ALONE = r"^xnor_conv2d 1×.*NCHW$|^correlate2d 1024², \d+×\d+$|beside NumPy$"
MACHINES = {"AVX2 (haswell)": ("haswell", "Haswell", 6.0), "any x86-64": ("x86-64", "Prescott", 1.5)}


def rows() -> list[Row]:
    return [
        Row(START, "import fastconv, beside numpy alone", import_time),
        *(Row(START, f"first call, {name}", partial(first_call, name)) for name in FIRST_CALLS),
        *(Row(GROWTH, f"growth of {name}", partial(growth, name)) for name in OPERATIONS),
        *(
            Row(f"As on {name}", f"as on {name}, {about}", partial(machine, name, same_for_numpy))
            for name in MACHINES
            for about, same_for_numpy in (("NumPy too", True), ("NumPy for this CPU", False))
        ),
        Row("Binary convolution, PyTorch without AMX", "without AMX", without_amx),
        Row("One thread", "one thread", one_thread),
    ]


def import_time(settings: Settings, row: Row) -> list[Line]:
    """numpy first, then the clock starts."""
    program = (
        "import time, numpy; start = time.perf_counter(); import fastconv; print(time.perf_counter() - start)"
    )
    seconds = statistics.median(float(python(program)) for _ in range(settings.pick(7, 1)))
    return [judged(row, "", seconds, IMPORT, ours=seconds)]


def first_call(name: str, settings: Settings, row: Row) -> list[Line]:
    """From after the imports to the result, in a new process: numba's own import and all compiling."""
    program = (
        "import time, numpy as np, fastconv; start = time.perf_counter(); "
        f"{FIRST_CALLS[name]}; print(time.perf_counter() - start)"
    )
    with tempfile.TemporaryDirectory() as cache:
        environment = {"NUMBA_CACHE_DIR": cache}
        cold, *warm = (float(python(program, environment=environment)) for _ in range(settings.pick(6, 2)))
    median = statistics.median(warm)
    return [
        judged(replace(row, name=f"{row.name}, cold cache"), "", cold, COLD, ours=cold),
        judged(replace(row, name=f"{row.name}, warm cache"), "", median, WARM, ours=median),
    ]


def growth(name: str, settings: Settings, row: Row) -> list[Line]:
    """Time per element from 2^20 elements on, relative to that at 2^20; and memory at the largest size.

    Small arrays may lie in a cache that large ones do not fit: "numpy.copyto" shows what that does alone.
    """
    powers = range(settings.pick(20, 12), settings.pick(settings.largest, 14) + 1, 2)
    program = "from peers.growth import main; main()"
    report = json.loads(python(program, name, *map(str, powers)))
    costs = [seconds / 2**power for power, seconds in zip(powers, report["seconds"], strict=True)]
    is_ours = name != "numpy.copyto"
    steps = ", ".join(f"2^{power}: {cost * 1e9:.3g}" for power, cost in zip(powers, costs, strict=True))
    what = replace(row, name=f"{row.name}, 2^{powers[0]} to 2^{powers[-1]}")
    lines = [
        judged(what, "", max(costs) / costs[0], FLAT if is_ours else None, note=f"ns per element at {steps}")
    ]
    if is_ours and report["extra"] is not None:
        extra = max(report["extra"], 0) / 2**20  # memory that was freed before may be used again
        lines.append(
            judged(replace(row, name=f"memory of {name}, 2^{powers[-1]}"), "", extra, ROOM, unit="MiB")
        )
    return lines


def machine(name: str, same_for_numpy: bool, settings: Settings, row: Row) -> list[Line]:
    """The rows beside NumPy, compiled by numba for another machine; NumPy's BLAS is told of it, or not."""
    cpu, blas, bound = MACHINES[name]
    environment = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    if same_for_numpy:
        environment["OPENBLAS_CORETYPE"] = blas
    pattern = settings.pick("beside NumPy$", "1×64.*beside NumPy$")
    registers, lines = measured_elsewhere(pattern, settings, environment=environment)
    if registers > 256:
        raise RuntimeError(f"numba was to compile for {cpu}, yet used registers of {registers} bits")
    peer = f"NumPy for {name}" if same_for_numpy else "NumPy for this CPU"
    return [_judged_again(replace(line, section=row.section, peer=peer), Target(bound)) for line in lines]


def without_amx(settings: Settings, row: Row) -> list[Line]:
    """oneDNN told to leave a CPU's matrix units (AMX) alone: what PyTorch int8 does on most CPUs."""
    pattern = settings.pick("^xnor_conv2d 1×.*NCHW$", "^xnor_conv2d 1×64.*NCHW$")
    environment = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}
    _, lines = measured_elsewhere(pattern, settings, environment=environment)
    return [replace(line, section=row.section) for line in lines if line.peer == INT8]


def one_thread(settings: Settings, row: Row) -> list[Line]:
    """Rows above, in a process where fastconv, PyTorch, OpenVINO, OpenCV and BLAS have one thread."""
    pattern = settings.pick(ALONE, "^xnor_conv2d 1×64.*NCHW$|^correlate2d 1024², 3×3$")
    _, lines = measured_elsewhere(pattern, settings, environment=ONE_THREAD)
    return [replace(line, section=row.section) for line in lines]


def _judged_again(line: Line, target: Target) -> Line:
    if line.value is None:
        return line
    row = Row(line.section, line.what, lambda settings, row: [])
    return judged(row, line.peer, line.value, target, ours=line.ours, theirs=line.theirs)
