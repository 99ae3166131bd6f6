"""Every kernel compiles for every architecture, keeps to its registers, and is the machine code that we want.

NVIDIA's compiler and disassembler do this without a GPU; nothing runs here.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
from conftest import missing

import nvrtc
from cuda_on_host import compiler
from cuda_variants import VARIANTS, check_listed, serves

MAIN = 90
"""The architecture that most variants are compiled for: compiling all for all takes minutes."""


def first(architecture, file):
    """The first row of a file that serves an architecture."""
    return next(row for row in VARIANTS[file] if serves(architecture, file, row))


def cases():
    """(architecture, file, defines): of a file, the first row for each architecture; for MAIN, all rows.

    A row that MAIN has no use for is compiled for the first architecture that has one.
    """
    for file, rows in VARIANTS.items():
        for defines in rows:
            served = [sm for sm in nvrtc.ARCHITECTURES if serves(sm, file, defines)]
            least = [MAIN] if MAIN in served else served[:1]
            firsts = [sm for sm in served if first(sm, file) == defines]
            yield from ((sm, file, defines) for sm in sorted({*least, *firsts}))


CASES = list(cases())
FIRSTS = [(file, first(MAIN, file)) for file in VARIANTS]
REGISTERS = 80
"""Of a thread, at most: three blocks of 256 threads share the 65,536 registers of a multiprocessor."""
MORE_REGISTERS = {"binary_gemm": 96}
"""Kernels that may use more: 32 sums and two stages of operands a thread, five blocks of 128 threads."""
SHARED_MEMORY = 48 << 10
"""Bytes that every architecture gives to a block unasked."""
WIDE = {
    "popcount": r"LDG\.E\.128",
    "sum_rows": r"LD(G)?\.E\.128",
    "sum_vectors": r"LDG\.E\.128",
    "pack_bytes": r"LDG\.E\.128",
    "unpack_flat": r"STG\.E\.128",
    "binary_gemm": r"LDGSTS\.E\.BYPASS\.128",
    "correlate": r"LDS\.128",
}
"""Kernels that must move 16 bytes at once, and by which instruction."""


@pytest.fixture(autouse=True, scope="module")
def _wheels():
    try:
        nvrtc.check()
    except ImportError as error:
        missing(str(error))


@cache
def built(architecture, file, defines):
    from fastconv.cuda.compile import source

    return nvrtc.compiled(source(file), architecture, defines)


@cache
def machine_code(architecture, file, defines):
    return nvrtc.instructions(built(architecture, file, defines).cubin)


def identity(value):
    return " ".join(value) or "-" if isinstance(value, tuple) else str(value)


def of(counts, pattern):
    """How many instructions match the regular expression."""
    return sum(n for name, n in counts.items() if re.match(pattern, name))


def test_every_file_of_kernels_has_variants():
    from fastconv.cuda.compile import KERNELS

    assert sorted(VARIANTS) == sorted(path.name for path in KERNELS.glob("*.cu"))
    for rows in VARIANTS.values():
        assert len(set(rows)) == len(rows) > 0


def test_a_variant_that_has_no_row_fails_where_it_is_used():
    from fastconv.cuda.compile import source

    check_listed(source("popcount.cu"), ("ELEMENT=u8",))
    check_listed("a kernel of the tests", ())
    with pytest.raises(RuntimeError, match=r"popcount\.cu is compiled with .*: add that to VARIANTS"):
        check_listed(source("popcount.cu"), ("ELEMENT=float",))


@pytest.mark.parametrize(("architecture", "file", "defines"), CASES, ids=identity)
def test_kernel_compiles_without_warnings_and_keeps_to_its_resources(architecture, file, defines):
    from fastconv.cuda.compile import source

    kernels = built(architecture, file, defines).kernels
    assert sorted(kernels) == sorted(compiler.KERNEL.findall(source(file)))
    for name, used in kernels.items():
        assert used.registers <= MORE_REGISTERS.get(name, REGISTERS), name
        assert (used.stack, used.spilled) == (0, 0), name
        assert used.shared <= SHARED_MEMORY, name


@pytest.mark.parametrize(("architecture", "file", "defines"), CASES, ids=identity)
def test_small_floats_do_not_become_zero(architecture, file, defines):
    """Neither CuPy's options nor ours can switch that off: kernels use instructions that ignore them."""
    assert re.findall(r"\S+\.ftz\S*", built(architecture, file, defines).ptx) == []


@pytest.mark.parametrize(("file", "defines"), FIRSTS, ids=identity)
def test_machine_code_keeps_out_of_local_memory_and_moves_16_bytes_where_that_was_meant(file, defines):
    for name, counts in machine_code(MAIN, file, defines).items():
        assert of(counts, "LDL|STL") == 0, name
        if name in WIDE:
            assert of(counts, WIDE[name]) > 0, name


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_products_of_bits_are_what_the_architecture_has(architecture):
    """Tensor cores multiply bits natively on sm_75 to sm_90; later ones would emulate it by integers."""
    counts = machine_code(architecture, "binary_gemm.cu", first(architecture, "binary_gemm.cu"))[
        "binary_gemm"
    ]
    products = {name for name in counts if re.match("[BI]G?MMA", name)}
    if architecture == 75:
        assert products == {"BMMA.88128.XOR.POPC"}
    elif architecture <= 90:
        assert products == {"BMMA.168256.AND.POPC"}
    else:
        assert products == set()
        assert of(counts, "POPC") > 0


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_copies_to_shared_memory_are_asynchronous_where_they_can_be(architecture):
    for file in ("binary_gemm.cu", "correlate.cu"):
        (counts,) = machine_code(architecture, file, first(architecture, file)).values()
        assert (of(counts, "LDGSTS") > 0) == (architecture >= 80)
        assert file == "correlate.cu" or of(counts, r"LDGSTS.*\.128|LDG\.E\.128") > 0


def test_a_warning_is_an_error():
    with pytest.raises(RuntimeError, match="declared but never referenced"):
        nvrtc.compiled('extern "C" __global__ void f(int* p) { int unused; p[0] = 1; }', 90)
    with pytest.raises(RuntimeError, match="undefined"):
        nvrtc.compiled('extern "C" __global__ void f(int* p) { p[0] = nothing; }', 90)


SPILLING = """
extern "C" __global__ void __launch_bounds__(1024, 2) f(const float* x, float* y, int n) {
  float row[100];
  for (int i = 0; i < 100; i++) row[i] = x[i * n];
  for (int j = 0; j < n; j++)
    for (int i = 0; i < 100; i++) row[i] = row[i] * row[(i * 7) % 100] + x[j];
  for (int i = 0; i < 100; i++) y[i * n] = row[i];
}"""


def test_spills_and_local_memory_are_seen():
    found = nvrtc.compiled(SPILLING, 90)
    assert found.kernels["f"].stack > 0
    assert of(nvrtc.instructions(found.cubin)["f"], "LDL|STL") > 0


def test_flushed_floats_are_seen():
    source = 'extern "C" __global__ void f(float* x) { x[0] = x[1] * x[2]; }'
    assert "mul.ftz.f32" in nvrtc.compiled(source, 90).ptx
