"""Every way in which the package compiles its kernels: the one table, for the tests without a GPU."""

from __future__ import annotations

from functools import cache

Defines = tuple[str, ...]

SIGNED, UNSIGNED = ("signed char", "short", "int", "i64"), ("u8", "u16", "u32", "u64")
COMPLEX = ("complex64", "complex128")


def _each(name: str, types: tuple[str, ...], *more: str) -> list[Defines]:
    return [(f"{name}={c_type}", *more) for c_type in types]


def _correlate(*types: str, rows: int) -> Defines:
    names = (f"{name}={c_type}" for name, c_type in zip(("PIXEL", "SUM", "RESULT"), types, strict=True))
    return (*names, f"ROWS={rows}", "HALO=16", f"PITCH={rows * 8 + 16}")


def _products(*products: str) -> list[Defines]:
    kinds = (
        ("RESULT=int",),
        ("RESULT=float", "STEPS"),
        ("RESULT=double", "STEPS"),
    )
    return [(*kind, *filter(None, [product])) for product in products for kind in kinds]


VARIANTS: dict[str, list[Defines]] = {
    "binary_direct.cu": _products(""),
    "binary_gemm.cu": _products("TENSOR_AND", "TENSOR_XOR", ""),
    "binary_words.cu": [()],
    "channelwise.cu": [
        (f"RESULT={kind}", *steps) for kind in ("float", "double") for steps in (("STEPS",), ())
    ],
    "col2im.cu": [
        ("ELEMENT=float", "SUM=float"),
        ("ELEMENT=double", "SUM=double"),
        ("ELEMENT=half", "SUM=float", "HALF"),
        ("ELEMENT=u8", "SUM=u32", "LOGICAL"),
        *((f"ELEMENT={c_type}", f"SUM={c_type}") for c_type in UNSIGNED + COMPLEX),
    ],
    "correlate.cu": [
        _correlate("float", "float", "float", rows=16),
        _correlate("double", "double", "double", rows=8),
        _correlate("complex64", "complex64", "complex64", rows=8),
        _correlate("complex128", "complex128", "complex128", rows=4),
        *(_correlate(pixel, "float", "half", rows=16) for pixel in ("half", "float")),
        _correlate("half", "float", "float", rows=16),
        *(_correlate(c_type, "u32", c_type, rows=16) for c_type in ("u8", "u16", "u32")),
        _correlate("u64", "u64", "u64", rows=8),
    ],
    "fold.cu": [()],
    "hamming.cu": [(f"DISTANCE={kind}",) for kind in ("u8", "u16", "u32", "u64")],
    "im2col.cu": [
        (*element, f"INDEX={index}", "WINDOWS=4")
        for index in ("int", "i64")
        for element in _each("ELEMENT", ("u32", "u8", "u16", "u64", "uint4"))
    ],
    "magnitudes.cu": [
        *_each("ELEMENT", ("float", "half", "double"), "RESULT=float"),
        ("ELEMENT=double", "RESULT=double"),
    ],
    "pack.cu": _each("KEY", UNSIGNED),
    "pack_bytes.cu": [()],
    "popcount.cu": [*_each("ELEMENT", UNSIGNED), *_each("ELEMENT", SIGNED, "SIGNED")],
    "unpack.cu": [()],
}
"""The defines with which each file is compiled. The first are compiled for every architecture."""


def serves(architecture: int, file: str, defines: Defines) -> bool:
    """Whether the package uses a variant there: each architecture has one inner product of bits."""
    if file != "binary_gemm.cu":
        return True
    from fastconv.cuda.compile import BINARY_PRODUCTS

    best = next(macros for least, macros in BINARY_PRODUCTS if architecture >= least)
    return best == tuple(define for define in defines if define.startswith("TENSOR"))


@cache
def file_of(code: str) -> str | None:
    """The file in ``kernels/`` whose source ``code`` is."""
    from fastconv.cuda.compile import KERNELS, source  # which need CuPy, or its stand-in

    return next((path.name for path in KERNELS.glob("*.cu") if source(path.name) == code), None)


def check_listed(code: str, defines: Defines) -> None:
    """A variant that the package uses and the table lacks would be one that nobody compiles for a GPU."""
    file = file_of(code)
    if file and defines not in VARIANTS.get(file, ()):
        raise RuntimeError(f"{file} is compiled with {defines}: add that to VARIANTS in {__file__}")
