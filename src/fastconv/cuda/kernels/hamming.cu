// Distances between rows of words.
#include "division.cuh"

// distances (total,): the bits in which row r of a, read through sizes and strides, differs from that of b.
// 2^shift lanes count for a row, or with several pieces for one of them, and add it to what is 0 at first, which then
// has to be u64. DISTANCE: an unsigned integer of the size of the result's.
extern "C" __global__ void __launch_bounds__(256) hamming(
    const u64* __restrict__ a, const u64* __restrict__ b, DISTANCE* __restrict__ distances, i64 total, i64 width,
    i64 pieces, i64 shift, i64 n1, i64 n2, i64 n3, i64 a0, i64 a1, i64 a2, i64 a3, i64 b0, i64 b1, i64 b2, i64 b3) {
  const int lanes = 1 << shift, lane = threadIdx.x & (lanes - 1);
  const i64 tasks = total * pieces;
#pragma unroll 1
  for (i64 first = first_index() - (threadIdx.x & 31); first < tasks << shift; first += index_step()) {
    const i64 task = (first + (threadIdx.x & 31)) >> shift;
    const Divided part = divided(task, pieces);
    u64 count = 0;
    if (task < tasks) {
      const Divided d3 = divided(part.quotient, n3), d2 = divided(d3.quotient, n2), d1 = divided(d2.quotient, n1);
      const u64* left = a + d1.quotient * a0 + d1.remainder * a1 + d2.remainder * a2 + d3.remainder * a3;
      const u64* right = b + d1.quotient * b0 + d1.remainder * b1 + d2.remainder * b2 + d3.remainder * b3;
      const i64 end = width * (part.remainder + 1) / pieces;
#pragma unroll 4
      for (i64 k = width * part.remainder / pieces + lane; k < end; k += lanes) count += __popcll(left[k] ^ right[k]);
    }
    for (int distance = lanes / 2; distance; distance /= 2) count += __shfl_xor_sync(~0u, count, distance);
    if (lane == 0 && task < tasks) {
      if (pieces == 1) distances[part.quotient] = DISTANCE(count);
      else atomicAdd(reinterpret_cast<u64*>(distances) + part.quotient, count);
    }
  }
}
