// Counting bits. ELEMENT is the element's type; SIGNED says whether the bits of |x| are meant.
#include "common.cuh"

// |x| of the lowest integer is itself, whose bits are those of the unsigned magnitude
__device__ __forceinline__ int ones(ELEMENT x) {
#ifdef SIGNED
  const u64 magnitude = x < 0 ? 0 - (u64)(i64)x : (u64)x;
#else
  const u64 magnitude = x;
#endif
  return sizeof(ELEMENT) == 8 ? __popcll(magnitude) : __popc((u32)magnitude);
}

// counts[i] = ones(x[i]), for n elements
extern "C" __global__ void popcount(const ELEMENT* __restrict__ x, u8* __restrict__ counts, i64 n) {
  const i64 step = index_step();
  i64 done = 0;
  if (aligned16(x) && ((u64)counts & (Vector<ELEMENT>::size - 1)) == 0) {
    struct __align__(Vector<ELEMENT>::size) Counts { u8 at[Vector<ELEMENT>::size]; };
    const i64 vectors = n / Vector<ELEMENT>::size;
    for (i64 v = first_index(); v < vectors; v += step) {
      const Vector<ELEMENT> values = reinterpret_cast<const Vector<ELEMENT>*>(x)[v];
      Counts found;
#pragma unroll
      for (int j = 0; j < Vector<ELEMENT>::size; j++) found.at[j] = ones(values.at[j]);
      reinterpret_cast<Counts*>(counts)[v] = found;
    }
    done = vectors * Vector<ELEMENT>::size;
  }
  for (i64 i = done + first_index(); i < n; i += step) counts[i] = ones(x[i]);
}
