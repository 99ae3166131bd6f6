// Products of bits on tensor cores, each as the PTX ISA lays its operands out over the lanes of a warp (section
// "Matrix fragments for mma"). With g = lane / 4 and t = lane % 4, a lane holds, of words of 32 bits along K,
//   word t of row g of A (and t + 4, and row g + 8, where the matrix has them), word t of column g of B, and
//   columns 2 t and 2 t + 1 of row g of the sums (and of row g + 8).
#pragma once
#include "common.cuh"

#ifdef FASTCONV_HOST
// lane 8 i + r says where row r of matrix i starts; word t of row g of matrix i comes back in to[i]
inline void load_matrices(u32 (&to)[4], const u32* row) {
  const int lane = host::block.current->lane;
  auto table = host::exchange(~0u, &row, sizeof row);
  for (int i = 0; i < 4; i++) {
    const u32* start;
    std::memcpy(&start, table[8 * i + lane / 4], sizeof start);
    to[i] = start[lane % 4];
  }
}

inline void add_ones_of_and(int (&upper)[2], int (&lower)[2], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0,
                            u32 b1) {
  const u32 own[6] = {a0, a1, a2, a3, b0, b1};
  const int g = host::block.current->lane / 4, t = host::block.current->lane % 4;
  auto lanes = host::exchange(~0u, own, sizeof own);
  for (int e = 0; e < 2; e++)
    for (int k = 0; k < 4; k++) {
      const auto &a = lanes[4 * g + k], &b = lanes[4 * (2 * t + e) + k];
      upper[e] += __popc(a[0] & b[4]) + __popc(a[2] & b[5]);
      lower[e] += __popc(a[1] & b[4]) + __popc(a[3] & b[5]);
    }
}

inline void add_ones_of_xor(int (&sums)[2], u32 a, u32 b) {
  const u32 own[2] = {a, b};
  const int g = host::block.current->lane / 4, t = host::block.current->lane % 4;
  auto lanes = host::exchange(~0u, own, sizeof own);
  for (int e = 0; e < 2; e++)
    for (int k = 0; k < 4; k++) sums[e] += __popc(lanes[4 * g + k][0] ^ lanes[4 * (2 * t + e) + k][1]);
}
#else
__device__ __forceinline__ void load_matrices(u32 (&to)[4], const u32* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"((u32)__cvta_generic_to_shared(row))
               : "memory");
}

// 16 x 256 by 256 x 8, from sm_80 on; `upper` are rows 0 to 7 of the sums
__device__ __forceinline__ void add_ones_of_and(int (&upper)[2], int (&lower)[2], u32 a0, u32 a1, u32 a2, u32 a3,
                                                u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
               "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+r"(upper[0]), "+r"(upper[1]), "+r"(lower[0]), "+r"(lower[1])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// 8 x 128 by 128 x 8, from sm_75 on
__device__ __forceinline__ void add_ones_of_xor(int (&sums)[2], u32 a, u32 b) {
  asm volatile("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc {%0,%1},{%2},{%3},{%0,%1};"
               : "+r"(sums[0]), "+r"(sums[1])
               : "r"(a), "r"(b));
}
#endif
