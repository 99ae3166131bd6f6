"""The demo: ConvAcc's story told on one photograph, every method checked, timed and shown.

Needs the extra ``fastconv[demo]`` (rich, matplotlib and, through matplotlib, Pillow).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from scipy import signal

import fastconv
from fastconv import reference
from fastconv._backends import Array
from fastconv.cpu.threads import threads
from fastconv.demo import convacc
from fastconv.demo.measure import PACE, Method, Row, compare
from fastconv.demo.pictures import NEIGHBOURHOOD, Photograph, centred, draw, load_photograph, place_of
from fastconv.programs.ending import CannotError, say, tell
from fastconv.programs.files import STANDARD_OUTPUT, write
from fastconv.programs.steps import steps
from fastconv.programs.tables import Entry, table

HEADINGS = ("method", "threads", "ms", "ratio", "max |difference|", "")
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
        If the image cannot be read or is smaller than the filter.
    CannotError
        If the picture cannot be written.
    """
    photograph = load_photograph(image, min_shape=convacc.FILTER.shape)
    return photograph, place_of(Path(output) / "fastconv-demo.png")


def run(photograph: Photograph, picture: Path, *, json_file: str | None) -> int:
    """Tell the story: the table on standard output, progress on standard error.

    Parameters
    ----------
    photograph : Photograph
    picture : Path
        Where the PNG goes.
    json_file : str or None
        Where the table goes as JSON; "-" is standard output, which then has nothing else.

    Returns
    -------
    int
        0, or 1 if a result disagrees with its reference.

    Raises
    ------
    KeyboardInterrupt
        If a signal ends it early; what was measured until then has been printed and written, and no picture.
    """
    started = time.perf_counter()
    image = centred(photograph.grey)
    rows: list[Row] = []
    try:
        _compare_all(_sections(image), rows)
        edges = fastconv.correlate2d(image, convacc.FILTER, "valid")
        draw(picture, photograph, edges, fastconv.xnor_conv2d(image, convacc.FILTER, scale="xnor"))
    except (KeyboardInterrupt, CannotError, BrokenPipeError):
        _report(photograph, rows, None, json_file)
        raise
    _report(photograph, rows, picture, json_file)
    if json_file != STANDARD_OUTPUT:
        say(f"Picture: {picture}")
        say(f"{time.perf_counter() - started:.0f} s in all, compiling included")
    wrong = [f"{row.method} ({row.section})" for row in rows if not row.ok]
    if wrong:
        tell(f"fastconv demo: disagrees with its reference: {', '.join(wrong)}")
    return 1 if wrong else 0


def _compare_all(sections: dict[str, list[Method]], rows: list[Row]) -> None:
    with steps(sum(len(methods) + PACE.rounds for methods in sections.values())) as step:

        def step_of(section: str, description: str) -> None:
            step(f"{section}: {description}")

        for section, methods in sections.items():
            compare(section, methods, partial(step_of, section), rows)


def _report(photograph: Photograph, rows: Sequence[Row], picture: Path | None, json_file: str | None) -> None:
    """The table, where it was asked for; without a picture, the demo was stopped before it had one."""
    try:
        if json_file:
            write(json_file, _json(photograph, rows, picture))
    finally:
        if json_file != STANDARD_OUTPUT and rows:
            say(_table(photograph, rows))


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


def _table(photograph: Photograph, rows: Sequence[Row]) -> str:
    return table(
        HEADINGS,
        [
            Entry(
                row.section,
                [
                    row.method,
                    "BLAS" if row.threads is None else str(row.threads),
                    _rounded(row.milliseconds),
                    _rounded(row.ratio),
                    "none" if row.difference is None else f"{row.difference:.2g}",
                    "✓" if row.ok else "✗",
                ],
            )
            for row in rows
        ],
        otherwise=100,
        numbers=HEADINGS[1:],
        title=f"{photograph.description}, 3×3 filter, float32",
        caption=f"Input: grey levels less the mean of their {NEIGHBOURHOOD}×{NEIGHBOURHOOD} neighbourhood. "
        "Medians of calls made in turn, after one that compiles and is checked. "
        "Ratio: to fastconv, at equal pixels. ✓: within 4·√9·eps·Σ|a||b| of SciPy in float64 "
        "(float) or of fastconv.reference (XNOR); sums of signs exactly equal.",
    )


def _rounded(number: float) -> str:
    digits = 3 if number < 1 else 2 if number < 10 else 1 if number < 100 else 0
    return f"{number:,.{digits}f}"


def _json(photograph: Photograph, rows: Sequence[Row], picture: Path | None) -> str:
    report = {
        "fastconv": fastconv.__version__,
        "image": photograph.description,
        "shape": list(photograph.grey.shape),
        "rows": [asdict(row) for row in rows],
        "ok": all(row.ok for row in rows),
        "complete": picture is not None,
        "picture": str(picture) if picture else None,
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
