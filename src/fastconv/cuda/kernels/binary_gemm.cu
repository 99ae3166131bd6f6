// Binary convolution as a product of matrices, one of which is never made: windows of the input by filters, in
// words. A block does TILE pixels and TILE filters. RESULT, SCALED and SIGNS: see binary_epilogue.cuh; TENSOR_AND
// and TENSOR_XOR: see binary_product.cuh.
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

#ifdef SIGNS
// 64 bits of filters from o on: a word, or parts of two that belong to other blocks as well.
__device__ __forceinline__ void store_bits(u64* words, i64 o, u64 bits, const Problem& p) {
  const int shift = (int)(o % 64);
  if (p.groups == 1 || p.filters % 64 == 0) words[o / 64] = bits;
  else {
    atomicOr(words + o / 64, bits << shift);
    if (shift && bits >> (64 - shift)) atomicOr(words + o / 64 + 1, bits >> (64 - shift));
  }
}

__device__ __forceinline__ void store(const Shared& s, const int* table, const Place& at, const Epilogue& e,
                                      const Problem& p) {
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32 * 16;  // of 16 pixels of this warp
  const i64 o = at.group * p.filters + at.filter, left = p.filters - at.filter;
  u64 mine = 0;
  for (int i = 0; i < 16; i++) {
    u32 halves[2];
    for (int h = 0; h < 2; h++) {
      const int filter = 32 * h + lane;
      const int y = filter < left ? sum_of(s, first + i, filter, o + filter, table, p) : 0;
      halves[h] = __ballot_sync(~0u, filter < left && sign_of(y, o + filter, e));
    }
    if (lane == i) mine = (u64)halves[1] << 32 | halves[0];
  }
  if (lane < 16 && s.pixels[first + lane].exists) store_bits(e.result + s.pixels[first + lane].place, o, mine, p);
}
#else
__device__ __forceinline__ void store(const Shared& s, const int* table, const Place& at, const Epilogue& e,
                                      const Problem& p) {
  const bool by_pixel = p.pixel_stride != 1;  // whether a pixel's filters are neighbours in the result
  const i64 left = p.filters - at.filter;
  for (int i = threadIdx.x; i < TILE * TILE; i += BLOCK) {
    const int pixel = by_pixel ? i / TILE : i % TILE, filter = by_pixel ? i % TILE : i / TILE;
    if (!s.pixels[pixel].exists || filter >= left) continue;
    const i64 o = at.group * p.filters + at.filter + filter;
    const RESULT value = finished(sum_of(s, pixel, filter, o, table, p), o, s.pixels[pixel].factor, e);
    e.result[s.pixels[pixel].place + (at.filter + filter) * p.filter_stride] = value;
  }
}
#endif

// `wide`: all words come in aligned pairs
extern "C" __global__ void __launch_bounds__(BLOCK, 5) binary_gemm(
    const u64* __restrict__ words, const u64* __restrict__ filters, const int* __restrict__ table,
    const Scale* __restrict__ scale, const Bias* __restrict__ bias, const RESULT* __restrict__ factor,
    RESULT* __restrict__ result, i64 wide, const Problem p) {
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
  store(shared, table, at, {scale, bias, factor, result}, p);
}
