"""The command line: what can be asked for, and what cannot be done."""

from __future__ import annotations

import argparse
import importlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from fastconv.programs import ending
from fastconv.programs.ending import CannotError
from fastconv.programs.files import STANDARD_OUTPUT, add_json, writable
from fastconv.programs.numbers import positive_number, whole_number

EXTRA = ("rich", "matplotlib", "PIL")  # packages of the extra without which the program cannot run

SMALLEST = 20
"""Growth begins with 2^20 elements."""

MOST_SECONDS = 3600
"""For each side of a row: more was not meant."""

BYTES = 16
"""Of an element of what growth is measured of, at most: what goes in and what comes out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what ``arguments`` (those of the program by default) ask for.

    Returns
    -------
    int
        The exit status: 0, 1 if results disagree or a row fails, 2 if the command cannot be done, 130 after
        Ctrl-C (128 and the number of any signal), 141 if nobody reads what it prints.
    """
    return ending.run("peers", partial(_command, arguments))


def _command(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.json and options.json == options.markdown:
        parser.error(f"--json and --markdown cannot both be written to {options.json!r}")
    try:
        from peers.run import run
        from peers.table import Settings
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        raise CannotError(f'{package} is not installed; pip install "fastconv[peers]"') from error
    _check_pattern(options.only)
    if options.gpu:
        _check_gpu()
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
    add(
        "--seconds",
        metavar="S",
        type=positive_number(MOST_SECONDS),
        default=0.15,
        help="for each side of a row (%(default)s)",
    )
    add("--largest", metavar="P", type=_power, default=28, help="growth up to 2^P elements (%(default)s)")
    add_json(parser)
    add(
        "--markdown",
        metavar="FILE",
        type=writable,
        help=f'write Markdown; "{STANDARD_OUTPUT}" is standard output, in place of the table',
    )
    return parser


def _check_pattern(only: str | None) -> None:
    try:
        re.compile(only or "")
    except (re.error, OverflowError, RecursionError) as error:
        raise CannotError(f"--only {only!r} is no regular expression: {error}") from error


def _power(text: str) -> int:
    """An exponent of two such that so many elements, and what is made of them, have room in memory."""
    most = 40
    with suppress(AttributeError, OSError, ValueError):  # not known on this system
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        most = max((memory // BYTES).bit_length() - 1, SMALLEST)
    return whole_number(SMALLEST, most)(text)


def _check_gpu() -> None:
    """Say why fastconv can compute on no GPU here, if it cannot."""
    try:
        importlib.import_module("fastconv.cuda")
    except ModuleNotFoundError as error:
        raise CannotError("cupy is not installed") from error
    except (ImportError, RuntimeError) as error:  # CuPy lacks libraries of its own, or a GPU
        raise CannotError(str(error)) from error
