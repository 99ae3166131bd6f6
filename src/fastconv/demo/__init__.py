"""The demo: ConvAcc's story told on one photograph, every method checked, timed and shown.

Needs the extra ``fastconv[demo]`` (rich, matplotlib and, through matplotlib, Pillow).
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from scipy import signal

import fastconv
from fastconv import reference
from fastconv._backends import Array
from fastconv.cpu.threads import threads
from fastconv.demo import convacc
from fastconv.demo.measure import PACE, Method, Row, compare
from fastconv.demo.pictures import NEIGHBOURHOOD, Photograph, centred, draw, load_photograph, writable

CROP = 64  # side of what pure Python gets: it takes about 5 microseconds a pixel


def prepare(image: str | None, output: str) -> tuple[Photograph, Path]:
    """Read the photograph and find where the picture can go, before any work is done.

    Parameters
    ----------
    image : str or None
        Path of a photograph; None for the one that matplotlib carries.
    output : str
        Folder for the picture, made where it is missing.

    Returns
    -------
    photograph : Photograph
    picture : Path
        Of the PNG to be written.

    Raises
    ------
    OSError, ValueError
        If the image cannot be read or is smaller than the filter, or the picture cannot be written.
    """
    photograph = load_photograph(image, min_shape=convacc.FILTER.shape)
    return photograph, writable(Path(output) / "fastconv-demo.png")


def run(photograph: Photograph, picture: Path, *, as_json: bool) -> int:
    """Tell the story; print the table (or JSON) to stdout and the progress to stderr.

    Parameters
    ----------
    photograph : Photograph
    picture : Path
        Where the PNG goes.
    as_json : bool
        Print one JSON object in place of the table.

    Returns
    -------
    int
        0, or 1 if a result disagrees with its reference.
    """
    started = time.perf_counter()
    image = centred(photograph.grey)
    rows = _compare_all(_sections(image))
    if as_json:
        _print_json(photograph, rows, picture)
    else:
        _print_table(photograph, rows)
    wrong = [f"{row.method} ({row.section})" for row in rows if not row.ok]
    if wrong:
        print(f"fastconv demo: disagrees with its reference: {', '.join(wrong)}", file=sys.stderr)
    edges = fastconv.correlate2d(image, convacc.FILTER, "valid")
    draw(picture, photograph, edges, fastconv.xnor_conv2d(image, convacc.FILTER, scale="xnor"))
    if not as_json:
        print(f"Picture: {picture}")
        print(f"{time.perf_counter() - started:.0f} s in all, compiling included")
    return 1 if wrong else 0


def _compare_all(sections: dict[str, list[Method]]) -> list[Row]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=sum(len(methods) + PACE.rounds for methods in sections.values()))

        def step(section: str, description: str) -> None:
            progress.update(task, advance=1, description=f"{section}: {description}")

        return [
            row
            for section, methods in sections.items()
            for row in compare(section, methods, partial(step, section))
        ]


def _sections(image: Array) -> dict[str, list[Method]]:
    """The methods of every part of the story; fastconv's is the last of each."""
    return {
        "float correlation": _float_methods(image),
        "XNOR, sums of signs": _xnor_methods(image, scale=None),
        "XNOR × α·K": _xnor_methods(image, scale="xnor"),
    }


def _float_methods(image: Array) -> list[Method]:
    weight, all_threads = convacc.FILTER, threads()
    expected = signal.correlate2d(image.astype(np.float64), weight.astype(np.float64), "valid")
    magnitude = signal.correlate2d(np.abs(image, dtype=np.float64), np.abs(weight), "valid")
    tolerance = _rounding(weight.size) * magnitude
    crop = np.ascontiguousarray(image[:CROP, :CROP])
    part = tuple(slice(n - k + 1) for n, k in zip(crop.shape, weight.shape, strict=True))
    ways: list[tuple[str, int | None, Callable[[], Array]]] = [
        ("numba", 1, lambda: convacc.correlate_numba(image, weight)),
        ("numba, parallel", all_threads, lambda: convacc.correlate_numba_parallel(image, weight)),
        ("numba stencil", all_threads, lambda: convacc.correlate_stencil(image)),
        ("im2col + guvectorize", 1, lambda: convacc.correlate_guvectorize(image, weight)),
        ("im2col + NumPy matmul", None, lambda: convacc.correlate_matmul(image, weight)),
        ("SciPy", 1, lambda: signal.correlate2d(image, weight, "valid")),
        ("fastconv.correlate2d", all_threads, lambda: fastconv.correlate2d(image, weight, "valid")),
    ]
    is_crop = crop.shape != image.shape
    python = Method(
        f"pure Python ({crop.shape[0]}×{crop.shape[1]} crop; scaled)" if is_crop else "pure Python",
        1,
        lambda: convacc.correlate_python(crop, weight),
        expected[part],
        tolerance[part],
    )
    return [python, *(Method(name, n, call, expected, tolerance) for name, n, call in ways)]


def _xnor_methods(image: Array, scale: str | None) -> list[Method]:
    weight = convacc.FILTER
    expected = reference.xnor_conv2d(image, weight, scale=scale)
    tolerance: Array | float = 0  # sums of signs are integers
    if scale:
        # Each sign in a sum stands for alpha * K, of which K is the mean magnitude in the window.
        magnitude = signal.correlate2d(np.abs(image, dtype=np.float64), np.ones(weight.shape), "valid")
        tolerance = _rounding(weight.size) * np.abs(weight).mean() * magnitude

    def notebook(sign_sums: Callable[[Array, Array], Array]) -> Array:
        columns = convacc.columns_of(image, weight.shape)
        sums = sign_sums(columns, weight)
        result = convacc.xnor_scaled(sums, columns, weight) if scale else sums
        return result.reshape(expected.shape)

    def ours() -> Array:
        return fastconv.xnor_conv2d(image, weight, scale=scale)

    ours_name = f'fastconv.xnor_conv2d, scale="{scale}"' if scale else "fastconv.xnor_conv2d"
    return [
        Method(
            "notebook, a byte per sign", 1, lambda: notebook(convacc.sign_sums_unpacked), expected, tolerance
        ),
        Method("notebook, packed bits", 1, lambda: notebook(convacc.sign_sums_packed), expected, tolerance),
        Method(ours_name, threads(), ours, expected, tolerance),
    ]


def _rounding(terms: int) -> float:
    """What float32 may be off by, relative to the sum of magnitudes of ``terms`` products."""
    return 4 * math.sqrt(terms) * float(np.finfo(np.float32).eps)


def _print_table(photograph: Photograph, rows: Sequence[Row]) -> None:
    table = Table(
        title=Text(f"{photograph.description}, 3×3 filter, float32"),
        caption=f"Input: grey levels less the mean of their {NEIGHBOURHOOD}×{NEIGHBOURHOOD} neighbourhood. "
        "Medians of calls made in turn, after one that compiles and is checked. "
        "Ratio: to fastconv, at equal pixels. ✓: within 4·√9·eps·Σ|a||b| of SciPy in float64 "
        "(float) or of fastconv.reference (XNOR); sums of signs exactly equal.",
    )
    table.add_column("method", no_wrap=True)
    for heading in ("threads", "ms", "ratio", "max |difference|"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            table.add_section()
            table.add_row(f"[bold]{section}")
        table.add_row(
            f"  {row.method}",
            "BLAS" if row.threads is None else str(row.threads),
            _rounded(row.milliseconds),
            _rounded(row.ratio),
            "none" if row.difference is None else f"{row.difference:.2g}",
            "✓" if row.ok else "✗",
        )
    console = Console()
    if not console.is_terminal:
        console.width = 100
    console.print(table)


def _rounded(number: float) -> str:
    digits = 3 if number < 1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{digits}f}"


def _print_json(photograph: Photograph, rows: Sequence[Row], picture: Path) -> None:
    report = {
        "fastconv": fastconv.__version__,
        "image": photograph.description,
        "shape": list(photograph.grey.shape),
        "rows": [asdict(row) for row in rows],
        "ok": all(row.ok for row in rows),
        "picture": str(picture),
    }
    print(json.dumps(report, indent=2, ensure_ascii=False))
