// What every kernel uses: 64-bit indices, loops over grids of any size, and 16 bytes at a time.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#ifndef FASTCONV_HOST  // where shared memory whose size the launch says begins
#define DYNAMIC_SHARED(T, name)                               \
  extern __shared__ __align__(16) unsigned char name##_raw[]; \
  T* name = reinterpret_cast<T*>(name##_raw)
#endif

// This thread's first index, and how far it is to its next: for (i64 i = first_index(); i < n; i += index_step())
__device__ __forceinline__ i64 first_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ i64 index_step() { return (i64)gridDim.x * blockDim.x; }

// 16 bytes of T, loaded and stored as one
template <class T>
struct __align__(16) Vector {
  static const int size = 16 / sizeof(T);
  T at[16 / sizeof(T)];
};

__device__ __forceinline__ bool aligned16(const void* p) { return ((u64)p & 15) == 0; }
