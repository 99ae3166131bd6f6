"""What the table's header says of the machine and of the software."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from peers.ceilings import multiply_add_rate, popcount_rate, widest_registers
from peers.threads import threads

PACKAGES = ("fastconv", "numpy", "numba", "scipy", "torch", "opencv-python-headless", "openvino")
DISTURBED = 5  # percent of all CPUs, used by others: chosen, not measured
STEADY = 90  # percent of the first rate: chosen; clocks sink under load, and hosts share their processors


def facts() -> dict[str, str]:
    return {
        "CPU": _cpu(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "threads": f"{threads()} on each side, except where 1 is said",
        "popcount bound": f"{popcount_rate() / 1e9:,.0f} billion sign products/s, measured in registers of "
        f"{widest_registers()} bits",
        "FMA peak": f"{multiply_add_rate() / 1e9:,.0f} billion float32 multiply-adds/s, measured",
        "versions": versions(*PACKAGES),
    }


def cpu_seconds() -> tuple[float, float] | None:
    """CPU time used so far on this machine by all processes, and by this one and those it waited for."""
    with suppress(OSError):
        user, nice, system, _, _, irq, softirq, *_ = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])
    return None


def others(before: tuple[float, float] | None, after: tuple[float, float] | None, seconds: float) -> str:
    """What other processes took meanwhile: it was taken from one side or the other."""
    if before is None or after is None:
        return "not known on this system"
    theirs = max(after[0] - before[0] - (after[1] - before[1]), 0.0)
    share = 100 * theirs / (seconds * (os.cpu_count() or 1))
    remark = ": not to be trusted, run it again" if share > DISTURBED else ""
    return f"used {share:.0f} % of the CPUs meanwhile{remark}"


def steadiness(speeds: Sequence[float]) -> str:
    """What became of the machine's speed, from shares of its first rate."""
    slowest = 100 * min(speeds)
    remark = "" if slowest >= STEADY else ": not to be trusted, run it again"
    return f"{slowest:.0f} % of its first popcount rate, at the slowest of {len(speeds)} moments{remark}"


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions(*packages: str) -> str:
    return ", ".join(f"{package} {_version(package)}" for package in packages)


def _version(package: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "not installed"
