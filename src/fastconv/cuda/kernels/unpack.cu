// The bits of words, a byte each.
#include "division.cuh"

__device__ __forceinline__ u64 little(u64 word, i64 reverse) { return reverse ? __brevll(word) : word; }

// bits (64 * count,) of words (count,), 16 at a time; bits is aligned.
extern "C" __global__ void unpack_flat(
    const u64* __restrict__ words, Vector<u32>* __restrict__ bits, i64 count, i64 reverse) {
#pragma unroll 1
  for (i64 i = first_index(); i < count * 4; i += index_step()) {
    const u32 own = little(words[i / 4], reverse) >> i % 4 * 16;
    Vector<u32> bytes;
#pragma unroll
    for (int j = 0; j < 4; j++) bytes.at[j] = (own >> j * 4 & 15) * 0x204081u & 0x01010101u;
    bits[i] = bytes;
  }
}

// bits (rows, n) of words (rows, width): a warp takes 32 words, and writes each side by side.
extern "C" __global__ void unpack_rows(
    const u64* __restrict__ words, u8* __restrict__ bits, i64 rows, i64 width, i64 n, i64 reverse) {
  const int lane = threadIdx.x & 31;
  const i64 total = rows * width;
#pragma unroll 1
  for (i64 first = first_index() - lane; first < total; first += index_step()) {
    const u64 own = first + lane < total ? little(words[first + lane], reverse) : 0;
    const Divided place = divided(first, width);
    i64 row = place.quotient, k = place.remainder;
    for (int j = 0; j < 32 && row < rows; j++) {
      const u64 word = __shfl_sync(~0u, own, j);
#pragma unroll
      for (int at = lane; at < 64; at += 32)
        if (k * 64 + at < n) bits[row * n + k * 64 + at] = word >> at & 1;
      if (++k == width) k = 0, row++;
    }
  }
}

// bits (outer, n, inner) of words (outer, width, inner): a thread takes a word.
extern "C" __global__ void unpack_columns(
    const u64* __restrict__ words, u8* __restrict__ bits, i64 outer, i64 width, i64 n, i64 inner, i64 reverse) {
#pragma unroll 1
  for (i64 index = first_index(); index < outer * width * inner; index += index_step()) {
    const Divided column = divided(index, inner), place = divided(column.quotient, width);
    const i64 first = place.remainder * 64;
    u8* target = bits + (place.quotient * n + first) * inner + column.remainder;
    u64 word = little(words[index], reverse);
    for (i64 j = first; j < min(first + 64, n); j++, word >>= 1, target += inner) *target = word & 1;
  }
}
