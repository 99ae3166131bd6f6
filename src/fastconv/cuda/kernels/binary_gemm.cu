// Binary convolution as a product of matrices, one of which is never made: windows of the input by filters, in
// words. A block does TILE pixels and TILE filters. RESULT and STEPS: see binary_epilogue.cuh; TENSOR_AND and
// TENSOR_XOR: see binary_product.cuh.
#include "binary_epilogue.cuh"
#include "binary_product.cuh"

// Pixels and filters of a block.
struct Place {
  i64 group, pixel, filter;
};

struct Finished {
  int sums[TILE][TILE + 1];  // an odd pitch: rows and columns are read without conflicts
  int ones[TILE], totals[TILE];
};

struct Shared {
  union __align__(16) {
    u32 stages[STAGES * STAGE];
    Finished finished;
  };
  Pixel pixels[TILE];
};

template <int COPY>
__device__ __forceinline__ void accumulate(Shared& shared, const u64* words, const u64* filters, const Place& at,
                                           const Problem& p, Sums& sums) {
  Rows<COPY> rows = rows_of<COPY>(words, filters, at.group, at.filter, p);
  const int warp = threadIdx.x / 32, pixels = warp / 2 * 32 * PITCH, columns = (TILE + warp % 2 * 32) * PITCH;
  for (int s = 0; s < STAGES - 1; s++) copy_step(shared.stages + s * STAGE, shared.pixels, rows, p);
  int read = 0, write = STAGES - 1;
  for (i64 k = 0; k < rows.depth; k += STEP) {
    wait_copies<STAGES - 2>();
    __syncthreads();  // everyone's copies are there, and everyone is done with the stage that is written next
    copy_step(shared.stages + write * STAGE, shared.pixels, rows, p);
    multiply(shared.stages + read * STAGE + pixels, shared.stages + read * STAGE + columns, warp % 2, sums);
    write = read;
    read = read + 1 == STAGES ? 0 : read + 1;
  }
  wait_copies<0>();
  __syncthreads();
}

__device__ __forceinline__ void collect(Finished& f, const Sums& sums, const int* table, const Place& at,
                                        const Problem& p) {
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int row = warp / 2 * 32 + g, column = warp % 2 * 32 + 2 * t;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) f.sums[row + 8 * i][column + 8 * j + e] = sums.at[i][j][e];
#ifdef TENSOR_AND
  if (t == 0)
    for (int i = 0; i < 2; i++) f.ones[row + warp % 2 * 16 + 8 * i] = sums.ones[i][0];
  const i64 filter = at.filter + threadIdx.x;
  if (threadIdx.x < TILE && filter < p.filters)
    f.totals[threadIdx.x] = sum_of_signs(table, at.group * p.filters + filter, p);
#endif
  __syncthreads();
}

// y of a pixel and a filter, o among all, of the tile; zeros outside the image have counted as -1.
__device__ __forceinline__ int sum_of(const Shared& s, int pixel, int filter, i64 o, const int* table,
                                      const Problem& p) {
  const u32 sum = s.finished.sums[pixel][filter];  // unsigned, since what is subtracted may exceed what an int holds
#ifdef TENSOR_AND
  u32 y = 4 * sum - 2 * (u32)s.finished.ones[pixel] - (u32)s.finished.totals[filter];
#else
  u32 y = (u32)(p.channels * p.kernel_rows * p.kernel_columns) - 2 * sum;
#endif
  if (p.outside && s.pixels[pixel].cut) y += (u32)p.outside * (u32)sum_outside(table, o, inside_of(s.pixels[pixel]), p);
  return (int)y;
}

// Where results go, each if there is an address.
struct Results {
  RESULT* numbers;
  u32* signs;  // words (pixels, w)
};

// 32 bits of filters from o on: half a word, or parts of two halves that belong to other threads as well.
__device__ __forceinline__ void store_bits(const Results& r, i64 pixel, i64 o, u32 bits, const Problem& p) {
  u32* half = r.signs + pixel * ((p.groups * p.filters + 63) / 64 * 2) + o / 32;
  const int shift = (int)(o % 32);
  if (p.groups == 1 || p.filters % 64 == 0) *half = bits;
  else if (bits) {
    atomicOr(half, bits << shift);
    if (shift && bits >> (32 - shift)) atomicOr(half + 1, bits >> (32 - shift));
  }
}

// Finish the sum of a pixel and a filter of the tile, and store it as a number; its sign, if that is wanted.
__device__ __forceinline__ bool store(const Shared& s, int pixel, int filter, const int* table, const Place& at,
                                      const Results& r, const Epilogue& e, const Problem& p) {
  const i64 o = at.group * p.filters + at.filter + filter;
  const i64 place = s.pixels[pixel].place + (at.filter + filter) * p.filter_stride;
  const RESULT v = finished(sum_of(s, pixel, filter, o, table, p), {o, place, s.pixels[pixel].factor}, e);
  if (r.numbers) r.numbers[place] = v;
  return r.signs && sign_of(v, o, e);
}

// A thread for half the filters of a pixel: neighbours are neighbouring pixels.
__device__ __forceinline__ void store_lines(const Shared& s, const int* table, const Place& at, const Results& r,
                                            const Epilogue& e, const Problem& p) {
  const int pixel = threadIdx.x % TILE, first = threadIdx.x / TILE * 32;
  if (!s.pixels[pixel].exists) return;
  const int last = (int)min(p.filters - at.filter, (i64)first + 32);
  u32 bits = 0;
  for (int filter = first; filter < last; filter++)
    bits |= (u32)store(s, pixel, filter, table, at, r, e, p) << (filter - first);
  if (r.signs) store_bits(r, at.pixel + pixel, at.group * p.filters + at.filter + first, bits, p);
}

// A thread for half the pixels of a warp and a filter of 32: neighbours are neighbouring filters.
__device__ __forceinline__ void store_rows(const Shared& s, const int* table, const Place& at, const Results& r,
                                           const Epilogue& e, const Problem& p) {
  const int lane = threadIdx.x % 32, half = threadIdx.x / 32 % 2 * 32, first = threadIdx.x / TILE * 32;
  for (int pixel = first; pixel < first + 32 && s.pixels[pixel].exists; pixel++) {
    const bool there = half + lane < p.filters - at.filter;
    const bool bit = there && store(s, pixel, half + lane, table, at, r, e, p);
    if (!r.signs) continue;
    const u32 bits = __ballot_sync(~0u, bit);
    if (lane == 0) store_bits(r, at.pixel + pixel, at.group * p.filters + at.filter + half, bits, p);
  }
}

// `wide`: all words come in aligned pairs
extern "C" __global__ void __launch_bounds__(BLOCK, 5) binary_gemm(
    const u64* __restrict__ words, const u64* __restrict__ filters, const int* __restrict__ table,
    RESULT* __restrict__ numbers, u32* __restrict__ signs, i64 wide, const Epilogue e, const Problem p) {
  __shared__ Shared shared;
  const i64 across = (p.filters + TILE - 1) / TILE, down = (p.pixels + TILE - 1) / TILE;
  const i64 rest = blockIdx.x / across;
  const Place at = {rest / down, rest % down * TILE, blockIdx.x % across * TILE};
  if (threadIdx.x < TILE) shared.pixels[threadIdx.x] = pixel_of(at.pixel + threadIdx.x, at.group, p);
  __syncthreads();
  Sums sums = {};
  if (wide) accumulate<2>(shared, words, filters, at, p, sums);
  else accumulate<1>(shared, words, filters, at, p, sums);
  collect(shared.finished, sums, table, at, p);
  const Results results = {numbers, signs};
  if (numbers && p.pixel_stride != 1) store_rows(shared, table, at, results, e, p);
  else store_lines(shared, table, at, results, e, p);
}
