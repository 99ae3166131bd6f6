// Packing one bit an element, 64 to a word. KEY is the unsigned integer of an element's size: a bit is 1 where
// the element, read as that integer, lies in one of two ranges, and neither wraps around.
#include "division.cuh"

#define COLUMN_BATCH 16  // elements a thread loads before it looks at any
#define RESIDENT (sizeof(KEY) == 8 ? 3 : 4)  // blocks of a multiprocessor: more would leave too few registers

struct Ranges {
  u64 low, span, other_low, other_span;

  __device__ __forceinline__ bool hold(KEY x) const {
    if (sizeof(KEY) == 8) return x - low <= span || x - other_low <= other_span;
    return (u32)x - (u32)low <= (u32)span || (u32)x - (u32)other_low <= (u32)other_span;
  }
};

// The word of this lane: that of 32 in a row of which the first is word k of row `row`. WHOLE says that none of
// them ends or leaves the row.
template <bool WHOLE>
__device__ __forceinline__ u64 own_word(const KEY* __restrict__ x, i64 rows, i64 n, i64 row, i64 k, Ranges ranges) {
  const int BATCH = WHOLE ? 8 : 4;  // words whose elements are loaded before any is looked at, 2 KiB of float
  const int lane = threadIdx.x & 31;
  const KEY* start = x + row * n + lane;
  u64 own = 0;
#pragma unroll 1
  for (int batch = 0; batch < 32; batch += BATCH) {
    KEY values[2 * BATCH];
    u32 present = 0;
#pragma unroll
    for (int j = 0; j < 2 * BATCH; j++) {
      const i64 at = (k + j / 2) * 64 + j % 2 * 32;
      if (WHOLE) {
        values[j] = start[at];
      } else {
        const bool there = row < rows && k * 64 + j % 2 * 32 + lane < n;
        values[j] = there ? start[k * 64 + j % 2 * 32] : KEY();
        present |= (u32)there << j;
        if (j % 2 && ++k * 64 >= n) k = 0, row++, start += n;
      }
    }
    if (WHOLE) k += BATCH;
#pragma unroll
    for (int j = 0; j < BATCH; j++) {
      u32 halves[2];
#pragma unroll
      for (int h = 0; h < 2; h++)
        halves[h] = __ballot_sync(~0u, (WHOLE || present >> (2 * j + h) & 1) && ranges.hold(values[2 * j + h]));
      if (lane == batch + j) own = halves[0] | (u64)halves[1] << 32;
    }
  }
  return own;
}

// words (rows, ceil(n / 64)) of x (rows, n): a warp makes 32 words, a ballot half a word.
extern "C" __global__ void __launch_bounds__(256, RESIDENT) pack_rows(
    const KEY* __restrict__ x, u64* __restrict__ words, i64 rows, i64 n, u64 low, u64 span, u64 other_low,
    u64 other_span, i64 reverse) {
  const Ranges ranges = {low, span, other_low, other_span};
  const int lane = threadIdx.x & 31;
  const i64 width = (n + 63) / 64, total = rows * width;
#pragma unroll 1
  for (i64 first = first_index() - lane; first < total; first += index_step()) {
    const Divided place = divided(first, width);
    const bool whole = (place.remainder + 32) * 64 <= n;
    u64 word = whole ? own_word<true>(x, rows, n, place.quotient, place.remainder, ranges)
                     : own_word<false>(x, rows, n, place.quotient, place.remainder, ranges);
    if (reverse) word = __brevll(word);
    if (first + lane < total) words[first + lane] = word;
  }
}

// Words k < ceil(n / 64) of x (outer, n, inner): that of (o, k, i) goes to
// words[o * ceil(n / 64) * inner + k * step + i * inner_step]. A thread makes a word.
extern "C" __global__ void __launch_bounds__(256, RESIDENT) pack_columns(
    const KEY* __restrict__ x, u64* __restrict__ words, i64 outer, i64 n, i64 inner, i64 step, i64 inner_step,
    u64 low, u64 span, u64 other_low, u64 other_span, i64 reverse) {
  const Ranges ranges = {low, span, other_low, other_span};
  const i64 width = (n + 63) / 64;
#pragma unroll 1
  for (i64 index = first_index(); index < outer * width * inner; index += index_step()) {
    const Divided column = divided(index, inner), place = divided(column.quotient, width);
    const i64 o = place.quotient, k = place.remainder, i = column.remainder;
    const KEY* start = x + (o * n + k * 64) * inner + i;
    const int count = min(n - k * 64, (i64)64);
    u64 word = 0;
#pragma unroll 1
    for (int j = 0; j < count; j += COLUMN_BATCH) {
      KEY values[COLUMN_BATCH];
#pragma unroll
      for (int u = 0; u < COLUMN_BATCH; u++) values[u] = j + u < count ? start[(j + u) * inner] : KEY();
      u32 bits = 0;
#pragma unroll
      for (int u = 0; u < COLUMN_BATCH; u++) bits |= (u32)(j + u < count && ranges.hold(values[u])) << u;
      word |= (u64)bits << j;
    }
    words[o * width * inner + k * step + i * inner_step] = reverse ? __brevll(word) : word;
  }
}
