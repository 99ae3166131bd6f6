// float16: kept as 16 bits, computed with as float.
#pragma once
#include "common.cuh"

struct half {
  u16 bits;
};

#ifdef FASTCONV_HOST
inline float to_float(half x) {
  _Float16 value;
  __builtin_memcpy(&value, &x, sizeof x);
  return value;
}

inline half to_half(float x) {
  const _Float16 value = x;
  half result;
  __builtin_memcpy(&result, &value, sizeof result);
  return result;
}
#else
__device__ __forceinline__ float to_float(half x) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(x.bits));
  return value;
}

__device__ __forceinline__ half to_half(float x) {  // to the nearest, ties to even
  half result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
}
#endif
