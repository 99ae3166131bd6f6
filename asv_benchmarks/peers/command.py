"""The command line: what can be asked for, and what cannot be done."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence

EXTRA = ("rich", "matplotlib", "PIL")  # packages of the extra without which the program cannot run


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what ``arguments`` (those of the program by default) ask for.

    Returns
    -------
    int
        The exit status: 0, 1 if results disagree or a row fails, 2 if the command cannot be done.
    """
    options = _parser().parse_args(arguments)
    try:
        from peers.run import run
        from peers.table import Settings
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        return _refuse(f'{package} is not installed; pip install "fastconv[peers]"')
    reason = _unusable_pattern(options.only) or (_unusable_gpu() if options.gpu else "")
    if reason:
        return _refuse(reason)
    settings = Settings(options.seconds, options.quick, options.largest)
    files = {"json_file": options.json, "markdown_file": options.markdown}
    return run(options.only, settings, on_gpu=options.gpu, **files)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peers",
        description="Time fastconv beside the libraries that are installed (PyTorch, OpenVINO, OpenCV, "
        "SciPy, NumPy), the sides in turn, after comparing their results; print "
        "ratios and whether targets are met. Exits with 1 if results disagree; a missed target is only "
        "reported. Let nothing else run meanwhile.",
    )
    add = parser.add_argument
    add("--gpu", action="store_true", help="the rows on a GPU instead: CuPy, cuDNN, a copy")
    add("--only", metavar="REGEX", help="only rows whose name or section matches")
    add("--quick", action="store_true", help="tiny problems, once: shows that every row runs")
    add("--seconds", type=float, metavar="S", help="for each side of a row (default: 0.15)", default=0.15)
    add("--largest", type=int, metavar="P", help="growth up to 2^P elements (default: 28)", default=28)
    add("--json", metavar="FILE", help="write the table as JSON")
    add("--markdown", metavar="FILE", help="write the table as Markdown")
    return parser


def _refuse(reason: str) -> int:
    print(f"peers: {reason}", file=sys.stderr)
    return 2


def _unusable_pattern(only: str | None) -> str:
    try:
        re.compile(only or "")
    except re.error as error:
        return f"--only {only!r} is no regular expression: {error}"
    return ""


def _unusable_gpu() -> str:
    """Why fastconv can compute on no GPU here; empty if it can."""
    try:
        importlib.import_module("fastconv.cuda")
    except ModuleNotFoundError:
        return "cupy is not installed"
    except (ImportError, RuntimeError) as error:  # CuPy lacks libraries of its own, or a GPU
        return str(error)
    return ""
