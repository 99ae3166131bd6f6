// Float arithmetic that rounds after every operation and keeps numbers below 2**-126. Operators do neither by
// themselves: the compiler fuses products and sums, and CuPy has it take such numbers for 0 (-ftz=true), in
// comparisons, too.
#pragma once
#include "common.cuh"

#ifdef FASTCONV_HOST
inline float product(float a, float b) { return a * b; }
inline float sum(float a, float b) { return a + b; }
inline float difference(float a, float b) { return a - b; }
inline float quotient(float a, float b) { return a / b; }
inline float root(float a) { return std::sqrt(a); }
inline double product(double a, double b) { return a * b; }
inline double sum(double a, double b) { return a + b; }
inline float fused(float a, float b, float c) { return std::fma(a, b, c); }
inline double fused(double a, double b, double c) { return std::fma(a, b, c); }
inline bool less(float a, float b) { return a < b; }
inline bool reaches(float a, float b) { return a >= b; }
inline bool less(double a, double b) { return a < b; }
inline bool reaches(double a, double b) { return a >= b; }
inline double widened(float a) { return a; }
inline float narrowed(double a) { return (float)a; }
#else
__device__ __forceinline__ float product(float a, float b) {
  float result;
  asm("mul.rn.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
__device__ __forceinline__ float sum(float a, float b) {
  float result;
  asm("add.rn.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
__device__ __forceinline__ float difference(float a, float b) {
  float result;
  asm("sub.rn.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
__device__ __forceinline__ float quotient(float a, float b) {
  float result;
  asm("div.rn.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
__device__ __forceinline__ float root(float a) {
  float result;
  asm("sqrt.rn.f32 %0, %1;" : "=f"(result) : "f"(a));
  return result;
}
__device__ __forceinline__ float fused(float a, float b, float c) {
  float result;
  asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(result) : "f"(a), "f"(b), "f"(c));
  return result;
}
__device__ __forceinline__ bool less(float a, float b) {
  int result;
  asm("{ .reg .pred p; setp.lt.f32 p, %1, %2; selp.s32 %0, 1, 0, p; }" : "=r"(result) : "f"(a), "f"(b));
  return result;
}
__device__ __forceinline__ bool reaches(float a, float b) {
  int result;
  asm("{ .reg .pred p; setp.ge.f32 p, %1, %2; selp.s32 %0, 1, 0, p; }" : "=r"(result) : "f"(a), "f"(b));
  return result;
}
__device__ __forceinline__ bool less(double a, double b) { return a < b; }
__device__ __forceinline__ bool reaches(double a, double b) { return a >= b; }
__device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }
__device__ __forceinline__ double sum(double a, double b) { return __dadd_rn(a, b); }
__device__ __forceinline__ double fused(double a, double b, double c) { return __fma_rn(a, b, c); }
__device__ __forceinline__ double widened(float a) {
  double result;
  asm("cvt.f64.f32 %0, %1;" : "=d"(result) : "f"(a));
  return result;
}
__device__ __forceinline__ float narrowed(double a) {
  float result;
  asm("cvt.rn.f32.f64 %0, %1;" : "=f"(result) : "d"(a));
  return result;
}
#endif
