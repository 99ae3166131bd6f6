// The inner product of a stage, of which there are three: on tensor cores with TENSOR_AND (sm_80 to sm_90) or
// TENSOR_XOR (sm_75), and everywhere by counting the bits of one word after another.
#pragma once
#include "binary_stage.cuh"
#include "tensor_core.cuh"

// Of a warp's 32 x 32 sums, [i][j][e] is pixel 8 i + lane / 4 and filter 8 j + lane % 4 * 2 + e.
// With TENSOR_AND `ones` are those of 16 pixels alone: 8 (2 half + i) + lane / 4, see multiply.
struct Sums {
  int at[4][4][2];
  int ones[2][2];
};

#ifdef TENSOR_AND
const int SLICE = 8;  // words of 32 bits that one instruction multiplies

// `half` says whose ones to count, too: those of the upper or the lower 16 pixels, the rest being another warp's.
__device__ __forceinline__ void multiply(const u32* pixels, const u32* filters, int half, Sums& sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 2 * STEP; k += SLICE) {
    u32 a[2][4], b[2][4];
#pragma unroll
    for (int side = 0; side < 2; side++) {
      load_matrices(a[side], pixels + lane * PITCH + k + 4 * side);
      load_matrices(b[side], filters + lane * PITCH + k + 4 * side);
    }
#pragma unroll
    for (int i = 0; i < 4; i += 2)
#pragma unroll
      for (int j = 0; j < 4; j++)
        add_ones_of_and(sums.at[i][j], sums.at[i + 1][j], a[0][i], a[0][i + 1], a[1][i], a[1][i + 1], b[0][j],
                        b[1][j]);
    add_ones_of_and(sums.ones[0], sums.ones[1], half ? a[0][2] : a[0][0], half ? a[0][3] : a[0][1],
                    half ? a[1][2] : a[1][0], half ? a[1][3] : a[1][1], ~0u, ~0u);
  }
}
#elif defined TENSOR_XOR
const int SLICE = 4;

__device__ __forceinline__ void multiply(const u32* pixels, const u32* filters, int, Sums& sums) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < 2 * STEP; k += SLICE) {
    u32 a[4], b[4];
    load_matrices(a, pixels + lane * PITCH + k);
    load_matrices(b, filters + lane * PITCH + k);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) add_ones_of_xor(sums.at[i][j], a[i], b[j]);
  }
}
#else
__device__ __forceinline__ u64 word_of(const u32* rows, int row, int k) {
  return *reinterpret_cast<const u64*>(rows + row * PITCH + k);
}

__device__ __forceinline__ void multiply(const u32* pixels, const u32* filters, int, Sums& sums) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll 1  // more would take registers and hide nothing: counting bits is what takes time
  for (int k = 0; k < 2 * STEP; k += 2) {
    u64 a[4];
#pragma unroll
    for (int i = 0; i < 4; i++) a[i] = word_of(pixels, 8 * i + g, k);
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        const u64 b = word_of(filters, 8 * j + 2 * t + e, k);
#pragma unroll
        for (int i = 0; i < 4; i++) sums.at[i][j][e] += __popcll(a[i] ^ b);
      }
  }
}
#endif
