// What becomes of the integers y of a binary product: steps in the order given, see fastconv/_epilogue.py, and signs.
// RESULT is the type of numbers: float or double with STEPS, and int without, for the integers as they are.
#pragma once
#include "binary_problem.cuh"
#include "rounded.cuh"

// Numbers that are `step` apart, or one where there is no address.
template <class T>
struct Parameter {
  const T* numbers;
  i64 step;
  T value;
};

template <class T>
__device__ __forceinline__ T value_of(const Parameter<T>& p, i64 index) {
  return p.numbers ? p.numbers[index * p.step] : p.value;
}

#ifdef STEPS
const int ROOM = 16;  // steps that are passed by value; what goes beyond is in the device's memory

enum Kind { SCALE, SHIFT, AFFINE, FUSED, WINDOW, ADD, PRELU, RELU, CLAMP };  // in the order of PARAMETERS

struct Step {
  i64 kind;
  Parameter<RESULT> first, second;
};
#endif

// Passed by value, as epilogue.py lays it out.
struct Epilogue {
  Parameter<RESULT> tau;
  Parameter<u8> flip;
#ifdef STEPS
  i64 count;
  const Step* more;
  Step steps[ROOM];
#endif
};

// Of a number: its filter, and its places in the result, which a residual is like, and among the means under windows.
struct Origin {
  i64 filter, place, window;
};

__device__ __forceinline__ bool sign_of(int v, i64 filter, const Epilogue& e) {
  return (v >= value_of(e.tau, filter)) != (value_of(e.flip, filter) != 0);
}

#ifdef STEPS
__device__ __forceinline__ bool sign_of(RESULT v, i64 filter, const Epilogue& e) {
  return reaches(v, value_of(e.tau, filter)) != (value_of(e.flip, filter) != 0);
}

// Each operation is rounded as on every backend: a fused product would be finite where the product is not.
__device__ __forceinline__ RESULT after(const Step& s, RESULT v, const Origin& from) {
  const RESULT a = value_of(s.first, s.kind == ADD ? from.place : s.kind == WINDOW ? from.window : from.filter);
  const RESULT b = value_of(s.second, from.filter);
  switch (s.kind) {
    case SCALE:
    case WINDOW: return product(v, a);
    case SHIFT:
    case ADD: return sum(v, a);
    case AFFINE: return sum(product(v, a), b);
    case FUSED: return fused(v, a, b);
    case PRELU: return less(v, 0) ? product(v, a) : v;
    case RELU: return less(v, 0) ? 0 : v;
    default: v = less(v, a) ? a : v; return less(b, v) ? b : v;
  }
}
#endif

// What the steps from `first` on make of v, up to `last`, which is not done.
__device__ __forceinline__ RESULT stepped(RESULT v, const Origin& from, const Epilogue& e, i64 first, i64 last) {
#ifdef STEPS
  for (int i = (int)first; i < min(last, (i64)ROOM); i++) v = after(e.steps[i], v, from);
  for (i64 i = max(first, (i64)ROOM); i < last; i++) v = after(e.more[i - ROOM], v, from);
#endif
  return v;
}

__device__ __forceinline__ RESULT finished(int y, const Origin& from, const Epilogue& e) {
#ifdef STEPS
  return stepped((RESULT)y, from, e, 0, e.count);
#else
  return y;
#endif
}
