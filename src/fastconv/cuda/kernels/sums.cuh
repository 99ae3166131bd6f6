// Sums and sums of products, of every type that kernels sum in. Products are not rounded by themselves, and floats
// below 2**-126 are kept: see rounded.cuh.
#pragma once
#include "complex.cuh"
#include "rounded.cuh"

#ifdef FASTCONV_HOST
inline float plus_product(float sum, float a, float b) { return sum + a * b; }
inline float minus_product(float sum, float a, float b) { return sum - a * b; }
#else
__device__ __forceinline__ float plus_product(float sum, float a, float b) {
  asm("fma.rn.f32 %0, %1, %2, %0;" : "+f"(sum) : "f"(a), "f"(b));
  return sum;
}
__device__ __forceinline__ float minus_product(float sum, float a, float b) {
  asm("{ .reg .f32 minus; neg.f32 minus, %1; fma.rn.f32 %0, minus, %2, %0; }" : "+f"(sum) : "f"(a), "f"(b));
  return sum;
}
#endif
__device__ __forceinline__ double minus_product(double sum, double a, double b) { return sum - a * b; }

template <class T>
__device__ __forceinline__ T plus_product(T sum, T a, T b) { return sum + a * b; }
template <class T>
__device__ __forceinline__ Complex<T> plus_product(Complex<T> sum, Complex<T> a, Complex<T> b) {
  return {minus_product(plus_product(sum.re, a.re, b.re), a.im, b.im),
          plus_product(plus_product(sum.im, a.re, b.im), a.im, b.re)};
}

template <class T>
__device__ __forceinline__ T total(T a, T b) { return a + b; }
__device__ __forceinline__ float total(float a, float b) { return sum(a, b); }
template <class T>
__device__ __forceinline__ Complex<T> total(Complex<T> a, Complex<T> b) { return {total(a.re, b.re), total(a.im, b.im)}; }
