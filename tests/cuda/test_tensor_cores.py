"""Tensor cores: each wrapper of an instruction, bit by bit, against the fragments of the PTX ISA."""

import numpy as np
import pytest
from conftest import optional

SHAPES = {"add_ones_of_and": (16, 256), "add_ones_of_xor": (8, 128)}
KERNELS = {
    "add_ones_of_and": """
extern "C" __global__ void run(const u32* a, const u32* b, int* sums) {
  const u32 *own = a + 4 * threadIdx.x, *other = b + 2 * threadIdx.x;
  int *at = sums + 4 * threadIdx.x, upper[2] = {at[0], at[1]}, lower[2] = {at[2], at[3]};
  add_ones_of_and(upper, lower, own[0], own[1], own[2], own[3], other[0], other[1]);
  for (int e = 0; e < 2; e++) at[e] = upper[e], at[2 + e] = lower[e];
}""",
    "add_ones_of_xor": """
extern "C" __global__ void run(const u32* a, const u32* b, int* sums) {
  int *at = sums + 2 * threadIdx.x, own[2] = {at[0], at[1]};
  add_ones_of_xor(own, a[threadIdx.x], b[threadIdx.x]);
  for (int e = 0; e < 2; e++) at[e] = own[e];
}""",
    "load_matrices": """
extern "C" __global__ void run(const u32* words, u32* loaded) {
  __shared__ u32 rows[32 * 20];
  for (int i = threadIdx.x; i < 32 * 20; i += 32) rows[i] = words[i];
  __syncthreads();
  u32 own[4];
  load_matrices(own, rows + threadIdx.x * 20 + 8);
  for (int i = 0; i < 4; i++) loaded[4 * threadIdx.x + i] = own[i];
}""",
}


def launch(name, *arrays):
    """Run one warp of a kernel; its arrays come back."""
    cupy = optional("cupy")
    from fastconv.cuda.compile import source

    code = source("tensor_core.cuh") + KERNELS[name]
    given = [cupy.asarray(a) for a in arrays]
    cupy.RawModule(code=code, options=("-std=c++17",)).get_function("run")((1,), (32,), tuple(given))
    return [cupy.asnumpy(a) for a in given]


def bit(words, lane, register, i):
    return words[lane, register] >> np.uint32(i) & np.uint32(1)


def operands(rows, depth, a, b):
    """A (rows, depth) and B (depth, 8) as the ISA finds them in the registers of 32 lanes, bit by bit."""
    wide, tall = np.zeros((rows, depth), np.int64), np.zeros((depth, 8), np.int64)
    for lane in range(32):
        group, thread = lane >> 2, lane % 4
        for i in range(32 * a.shape[1]):
            register, place = divmod(i, 32)
            row = group + 8 * (register % 2)
            column = thread * 32 + place + (128 if register >= 2 else 0)
            wide[row, column] = bit(a, lane, register, place)
        for i in range(32 * b.shape[1]):
            register, place = divmod(i, 32)
            tall[thread * 32 + place + 128 * register, group] = bit(b, lane, register, place)
    return wide, tall


@pytest.mark.parametrize("name", SHAPES)
def test_product_adds_the_ones_of_every_row_and_column(name):
    rows, depth = SHAPES[name]
    rng = np.random.default_rng(0)
    a = rng.integers(2**32, size=(32, rows * depth // 1024), dtype=np.uint32)
    b = rng.integers(2**32, size=(32, depth // 128), dtype=np.uint32)
    before = rng.integers(-99, 99, (32, rows // 4)).astype(np.int32)
    _, _, after = launch(name, a, b, before)
    wide, tall = operands(rows, depth, a, b)
    ones = wide @ tall if name == "add_ones_of_and" else (wide[:, :, None] ^ tall[None]).sum(axis=1)
    for lane in range(32):
        for i in range(rows // 4):
            row, column = (lane >> 2) + 8 * (i // 2), lane % 4 * 2 + i % 2
            assert after[lane, i] - before[lane, i] == ones[row, column]


def test_matrices_are_loaded_as_products_want_them():
    words = np.arange(32 * 20, dtype=np.uint32).reshape(32, 20)
    _, loaded = launch("load_matrices", words, np.zeros((32, 4), np.uint32))
    for lane in range(32):
        for matrix in range(4):
            assert loaded[lane, matrix] == words[8 * matrix + lane // 4, 8 + lane % 4]
