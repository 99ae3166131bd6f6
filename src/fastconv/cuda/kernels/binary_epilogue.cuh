// What becomes of the integers y of a binary product. RESULT is the type of what is stored: int for y as it is;
// with SCALED, scale * y + bias; with SIGNS, u64 for words of the bits (y >= tau) xor flip.
#pragma once
#include "binary_problem.cuh"
#include "rounded.cuh"

#ifdef SIGNS
typedef int Scale;  // tau
typedef u8 Bias;    // flip
#else
typedef RESULT Scale;
typedef RESULT Bias;
#endif

// `scale` and `bias` (O,) and `factor` (N, G, L) may be null, for ones, zeros and ones.
struct Epilogue {
  const Scale* scale;
  const Bias* bias;
  const RESULT* factor;
  RESULT* result;
};

#ifdef SIGNS
__device__ __forceinline__ bool sign_of(int y, i64 o, const Epilogue& e) {
  return (y >= e.scale[o]) != (e.bias[o] != 0);
}
#else
// What is stored for y of filter o; `window` is its place in `factor`.
__device__ __forceinline__ RESULT finished(int y, i64 o, i64 window, const Epilogue& e) {
#ifdef SCALED
  const RESULT scale = e.scale ? e.scale[o] : (RESULT)1, bias = e.bias ? e.bias[o] : (RESULT)0;
  // rounded as on every backend: a fused product would be finite where the product is not
  return sum(product((RESULT)y, e.factor ? product(scale, e.factor[window]) : scale), bias);
#else
  return y;
#endif
}
#endif
