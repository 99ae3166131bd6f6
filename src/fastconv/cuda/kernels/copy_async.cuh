// Copies from global to shared memory that go on while the thread does: cp.async from sm_80 on.
//
// copy_async starts copying BYTES (4, 8 or 16), or storing zeros if `there` is false; both ends are aligned to
// BYTES. commit_copies closes a group of copies; wait_copies<N> waits for all of this thread's but the latest N
// groups.
#pragma once
#include "common.cuh"

#ifdef FASTCONV_HOST  // copies are done when waited for, and no sooner
template <int BYTES>
void copy_async(void* to, const void* from, bool there) {
  host::Fiber& self = *host::block.current;
  self.copies.push_back({to, there ? from : nullptr, BYTES, self.groups});
}
inline void commit_copies() { host::block.current->groups++; }
template <int LEFT>
void wait_copies() {
  host::Fiber& self = *host::block.current;
  auto done = self.copies.begin();
  for (; done != self.copies.end() && done->group + LEFT < self.groups; ++done)
    if (done->from) std::memcpy(done->to, done->from, done->bytes);
    else std::memset(done->to, 0, done->bytes);
  self.copies.erase(self.copies.begin(), done);
}
#elif __CUDA_ARCH__ >= 800
template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
  const u32 place = (u32)__cvta_generic_to_shared(to), bytes = there ? BYTES : 0;
  if (BYTES == 16)  // past the first cache, which takes the others only
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(place), "l"(from), "r"(bytes), "n"(BYTES) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT>
__device__ __forceinline__ void wait_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory"); }
#else
template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool there) {
  struct __align__(BYTES) Words { u32 at[BYTES / 4]; };
  *reinterpret_cast<Words*>(to) = there ? *reinterpret_cast<const Words*>(from) : Words{};
}
__device__ __forceinline__ void commit_copies() {}
template <int LEFT>
__device__ __forceinline__ void wait_copies() {}
#endif
