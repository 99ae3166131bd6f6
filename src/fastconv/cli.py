"""The command line: ``fastconv demo`` and ``fastconv info``."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import fastconv
from fastconv.programs.ending import CannotError, begin, run, say
from fastconv.programs.files import STANDARD_OUTPUT, add_json, folder, write
from fastconv.programs.lines import folded

if TYPE_CHECKING:
    from fastconv._backends import Backend

# Of the features that LLVM reports, those that decide how fast the kernels are.
TELLING_FEATURES = (
    *("sse4.2", "popcnt", "avx", "avx2", "fma"),
    *("avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bitalg", "avx512vpopcntdq"),
    *("neon", "dotprod", "sve", "sve2"),
)

PACKAGES = (
    "fastconv", "numpy", "numba", "llvmlite", "scipy", "cupy", "torch", "safetensors", "dask",
    "array-api-compat",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the program's name; those of this process by default, which a signal then ends in one
        line.

    Returns
    -------
    int
        The exit status: 0, 1 if a result disagrees with its reference, 2 if the command cannot be done, 130
        after Ctrl-C (128 and the number of any signal), 141 if nobody reads what it prints.

    Raises
    ------
    SystemExit
        With status 2 for arguments that make no command, with 0 after ``--help`` and ``--version``.
    """
    if arguments is None:
        begin("fastconv")
    return run("fastconv", partial(_command, arguments))


def _command(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    return run(f"fastconv {options.name}", partial(options.command, options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastconv", description="Binary and small-kernel convolution.")
    version = f"fastconv {fastconv.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="compare ways to convolve a photograph, and draw it",
        description="Convolve a photograph in every way of the ConvAcc notebook and in fastconv's, check "
        "each result, time them in turn, and draw the edges and their XNOR approximation. "
        "Exits with 1 if a result disagrees with its reference.",
    )
    demo.add_argument(
        "--image", metavar="FILE", help='any image, "-" for standard input (default: one of matplotlib\'s)'
    )
    demo.add_argument(
        "--output", metavar="DIR", type=folder, default="demo-output", help="of the picture (%(default)s)"
    )
    add_json(demo)
    demo.set_defaults(command=_demo, name="demo")

    info = commands.add_parser("info", help="versions, CPU, threads, and which array libraries are supported")
    add_json(info)
    info.set_defaults(command=_info, name="info")
    return parser


def _demo(options: argparse.Namespace) -> int:
    try:
        from fastconv import demo
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("rich", "matplotlib", "PIL"):
            raise
        raise CannotError(f'{package} is not installed; pip install "fastconv[demo]"') from error
    try:
        photograph, picture = demo.prepare(options.image, options.output)
    except OSError as error:
        raise CannotError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise CannotError(str(error)) from error
    return demo.run(photograph, picture, json_file=options.json)


def _info(options: argparse.Namespace) -> int:
    report = _report()
    if options.json:
        write(options.json, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    if options.json != STANDARD_OUTPUT:
        say("\n".join(_lines(report)))
    return 0


def _lines(report: dict[str, dict[str, Any]]) -> Iterator[str]:
    for heading, lines in report.items():
        yield heading
        names = max(map(len, lines))
        for name, value in lines.items():
            yield from folded(_line(value), f"  {name:{names}}  ")


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return f"{'✓' if value['supported'] else '✗'} {value['why']}".rstrip()
    return " ".join(value) if isinstance(value, list) else str(value)


def _report() -> dict[str, dict[str, Any]]:
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "cpu": _cpu(),
        "threads": _threads(),
        "gpus": _gpus(),
        "namespaces": _namespaces(),
    }


def _version(package: str) -> str:
    if package == "fastconv":
        return fastconv.__version__
    # CuPy is published once for each CUDA version.
    names = ("cupy", "cupy-cuda12x", "cupy-cuda13x") if package == "cupy" else (package,)
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return "not installed"


def _cpu() -> dict[str, Any]:
    import llvmlite.binding
    import numba

    present = llvmlite.binding.get_host_cpu_features()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "name": llvmlite.binding.get_host_cpu_name(),
        "features": [feature for feature in TELLING_FEATURES if present.get(feature)],
        "kernels compiled for": numba.config.CPU_NAME or "this CPU",
    }


def _threads() -> dict[str, Any]:
    reason = _unusable("fastconv.cpu", "numba")
    if reason:
        return {"none": reason}
    from fastconv.cpu import threads

    return {
        "cores": os.cpu_count(),
        "used": threads.threads(),
        "whose": threads.whose(),
        "cache of compiled kernels": _cache_directory(),
    }


def _cache_directory() -> str:
    from numba.core.caching import FunctionCache

    from fastconv.cpu.threads import threads

    try:
        return str(FunctionCache(threads).cache_path)  # numba chooses by the folder a function stands in
    except (RuntimeError, OSError):
        return "none that can be written: kernels are compiled in every process"


def _gpus() -> dict[str, str]:
    reason = _unusable("fastconv.cuda", "cupy")
    if reason:
        return {"none": reason}
    from fastconv.cuda.devices import names

    return names()


def _unusable(package: str, library: str) -> str:
    """Why the implementation for a library cannot be loaded; empty if it can."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        return f"{library} is not installed"
    except (ImportError, RuntimeError) as error:  # it lacks libraries of its own, or a GPU
        return str(error)
    return ""


def _namespaces() -> dict[str, dict[str, Any]]:
    from fastconv._backends import BACKENDS

    return {name: _support(backend) for name, backend in BACKENDS.items()}


def _support(backend: Backend) -> dict[str, Any]:
    if not backend.supported:
        return {"supported": False, "why": f"{backend.support}; convert with {backend.conversion}"}
    reason = _unusable(str(backend.package or backend.lender), backend.namespace.partition(".")[0])
    return {"supported": not reason, "why": reason or backend.support.removeprefix("supported").lstrip(", ")}
