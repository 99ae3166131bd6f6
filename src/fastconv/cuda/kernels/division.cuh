// Taking an index apart: in 32 bits where that is enough, which is four times as fast.
#pragma once
#include "common.cuh"

struct Divided {
  i64 quotient, remainder;
};

// n / d and n % d, for n >= 0 and d > 0
__device__ __forceinline__ Divided divided(i64 n, i64 d) {
  if (d == 1) return {n, 0};
  if ((u64)(n | d) >> 32) return {n / d, n % d};
  const u32 quotient = (u32)n / (u32)d;
  return {quotient, (u32)n - quotient * (u32)d};
}
