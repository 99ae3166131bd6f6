// Packing one bit a byte, 16 bytes at a time, where they are one run from an aligned place on.
#include "common.cuh"

#define BATCH 4  // vectors of a lane: those of a warp make 32 words

// In each byte's highest bit times 2^21, 2^14, 2^7 and 1, which no other product reaches: which of four bytes,
// with the highest bits `flip` changed, are at least `bound`. So they are the highest four of the result.
__device__ __forceinline__ u32 four_bits(u32 bytes, u32 flip, u32 bound) {
  const u32 top = 0x80808080u;
  const u32 high = (bytes ^ flip) & top, low = (bytes | top) - (bound & ~top), below = ~bound & top;
  return ((high & below) | (high & low) | (below & low)) * 0x204081u;
}

__device__ __forceinline__ Vector<u32> load16(const u8* __restrict__ x, i64 at, i64 n) {
  if (at + 16 <= n) return *reinterpret_cast<const Vector<u32>*>(x + at);
  Vector<u32> bytes = {};
#pragma unroll 1
  for (int i = 0; i < 16 && at + i < n; i++) bytes.at[i / 4] |= (u32)x[at + i] << i % 4 * 8;
  return bytes;
}

// halves: the ceil(n / 64) words of x (n,), each as two of 32 bits; `flip` and `bound` hold a byte four times.
extern "C" __global__ void __launch_bounds__(256, 4) pack_bytes(
    const u8* __restrict__ x, u32* __restrict__ halves, i64 n, u32 flip, u32 bound, i64 reverse) {
  const int lane = threadIdx.x & 31;
  const i64 words = (n + 63) / 64;
#pragma unroll 1
  for (i64 first = first_index() - lane; first < words; first += index_step()) {
    Vector<u32> values[BATCH];
#pragma unroll
    for (int j = 0; j < BATCH; j++) values[j] = load16(x, (first * 4 + j * 32 + lane) * 16, n);
#pragma unroll
    for (int j = 0; j < BATCH; j++) {
      const i64 vector = first * 4 + j * 32 + lane, left = n - vector * 16;
      u32 bits = 0;
#pragma unroll
      for (int i = 3; i >= 0; i--) bits = bits << 4 | four_bits(values[j].at[i], flip, bound) >> 28;
      if (left < 16) bits &= left > 0 ? (1u << left) - 1 : 0;
      u32 half = bits | __shfl_xor_sync(~0u, bits, 1) << 16;
      if (reverse) half = __brevll(half) >> 32;
      if (lane % 2 == 0 && vector < words * 4) halves[(vector / 2) ^ (reverse != 0)] = half;
    }
  }
}
