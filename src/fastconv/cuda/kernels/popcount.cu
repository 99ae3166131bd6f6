// Counting bits. ELEMENT is the element's type; SIGNED says whether the bits of |x| are meant.
#include "division.cuh"

#define BATCH 4  // vectors a thread loads before it counts in any

// |x| of the lowest integer is itself, whose bits are those of the unsigned magnitude
__device__ __forceinline__ int ones(ELEMENT x) {
#ifdef SIGNED
  const u64 magnitude = x < 0 ? 0 - (u64)(i64)x : (u64)x;
#else
  const u64 magnitude = x;
#endif
  return sizeof(ELEMENT) == 8 ? __popcll(magnitude) : __popc((u32)magnitude);
}

// ones() of all elements in a word, added up: none of their magnitudes carries into the next
__device__ __forceinline__ int ones_of_word(u64 word) {
#ifdef SIGNED
  const int bits = 8 * sizeof(ELEMENT);
  const u64 largest = ~0ull >> (64 - bits), negative = word >> (bits - 1) & (~0ull / largest);
  word = (word ^ negative * largest) + negative;
#endif
  return __popcll(word);
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

// sums (outer, inner) = the ones of x (outer, n, inner): a thread makes a sum.
extern "C" __global__ void sum_each(const ELEMENT* __restrict__ x, u64* __restrict__ sums, i64 outer, i64 n, i64 inner) {
#pragma unroll 1
  for (i64 index = first_index(); index < outer * inner; index += index_step()) {
    const Divided place = divided(index, inner);
    const ELEMENT* first = x + place.quotient * n * inner + place.remainder;
    u64 sum = 0;
#pragma unroll 8
    for (i64 k = 0; k < n; k++) sum += ones(first[k * inner]);
    sums[index] = sum;
  }
}

// sums (rows,) += the ones of x (rows, n): a warp takes one of the pieces of a row.
extern "C" __global__ void sum_rows(const ELEMENT* __restrict__ x, u64* __restrict__ sums, i64 rows, i64 n, i64 pieces) {
  const int lane = threadIdx.x & 31;
#pragma unroll 1
  for (i64 task = first_index() / 32; task < rows * pieces; task += index_step() / 32) {
    const Divided place = divided(task, pieces);
    const ELEMENT* begin = x + place.quotient * n + n * place.remainder / pieces;
    const ELEMENT* end = x + place.quotient * n + n * (place.remainder + 1) / pieces;
    const ELEMENT* aligned = begin + min((i64)(0 - (u64)begin & 15) / (i64)sizeof(ELEMENT), (i64)(end - begin));
    const Vector<u64>* vectors = reinterpret_cast<const Vector<u64>*>(aligned);
    const i64 count = (u64)(end - aligned) / Vector<ELEMENT>::size;
    u64 sum = 0;
#pragma unroll 1
    for (i64 v = lane; v < count; v += 32 * BATCH) {
      Vector<u64> values[BATCH];
#pragma unroll
      for (int j = 0; j < BATCH; j++) values[j] = v + 32 * j < count ? vectors[v + 32 * j] : Vector<u64>();
#pragma unroll
      for (int j = 0; j < BATCH; j++) sum += ones_of_word(values[j].at[0]) + ones_of_word(values[j].at[1]);
    }
    if (begin + lane < aligned) sum += ones(begin[lane]);  // fewer than a vector's, as are those at the end
    const ELEMENT* rest = aligned + count * Vector<ELEMENT>::size + lane;
    if (rest < end) sum += ones(*rest);
#pragma unroll
    for (int distance = 16; distance; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
    if (lane == 0) atomicAdd(sums + place.quotient, sum);
  }
}

// sums (outer, inner) += the ones of x (outer, n, inner): a block takes up to 256 columns in one of the pieces
// of the n; where there are fewer columns, several rows side by side. A thread takes a vector T of columns.
template <class T>
__device__ __forceinline__ void sum_tiles(const T* __restrict__ x, u64* sums, i64 outer, i64 n, i64 inner, i64 pieces) {
  const int size = sizeof(T) / sizeof(ELEMENT);
  __shared__ u32 found[256 * size];
  const int width = min(inner, (i64)blockDim.x), beside = blockDim.x / width;
  const int column = threadIdx.x % width, row = threadIdx.x / width;
  const i64 tiles = (inner + width - 1) / width;
#pragma unroll 1
  for (i64 task = blockIdx.x; task < outer * tiles * pieces; task += gridDim.x) {
    const Divided place = divided(task, pieces), tile = divided(place.quotient, tiles);
    const i64 first = tile.remainder * width, end = n * (place.remainder + 1) / pieces;
    const T* source = x + tile.quotient * n * inner + first + column;
    u32 counts[size] = {};  // a thread does not see the 2^26 rows it would take to overflow
    if (row < beside && first + column < inner) {
#pragma unroll 4
      for (i64 k = n * place.remainder / pieces + row; k < end; k += beside) {
        const T values = source[k * inner];
#pragma unroll
        for (int j = 0; j < size; j++) counts[j] += ones(reinterpret_cast<const ELEMENT*>(&values)[j]);
      }
    }
#pragma unroll
    for (int j = 0; j < size; j++) found[threadIdx.x * size + j] = counts[j];
    __syncthreads();
    for (int c = threadIdx.x; c < min(inner - first, (i64)width) * size; c += blockDim.x) {
      u64 sum = 0;
      for (int r = 0; r < beside; r++) sum += found[r * width * size + c];
      atomicAdd(sums + (tile.quotient * inner + first) * size + c, sum);
    }
    __syncthreads();
  }
}

extern "C" __global__ void __launch_bounds__(256) sum_columns(
    const ELEMENT* __restrict__ x, u64* __restrict__ sums, i64 outer, i64 n, i64 inner, i64 pieces) {
  sum_tiles(x, sums, outer, n, inner, pieces);
}

// sum_columns of aligned rows of whole vectors, of which there are `inner`
extern "C" __global__ void __launch_bounds__(256, 3) sum_vectors(
    const ELEMENT* __restrict__ x, u64* __restrict__ sums, i64 outer, i64 n, i64 inner, i64 pieces) {
  sum_tiles(reinterpret_cast<const Vector<ELEMENT>*>(x), sums, outer, n, inner, pieces);
}
