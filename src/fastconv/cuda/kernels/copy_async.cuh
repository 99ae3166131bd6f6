// Copies from global to shared memory that go on while the thread does: cp.async from sm_80 on.
//
// copy_async starts copying BYTES (4, 8 or 16), or storing zeros if `there` is false; both ends are aligned to
// BYTES. commit_copies closes a group of copies; wait_copies<N> waits for all of this thread's but the latest N
// groups.
#pragma once
#include "common.cuh"

#ifdef FASTCONV_HOST  // copies are done when waited for, and no sooner
namespace host {
struct Copy {
  void* to;
  const void* from;
  size_t bytes, group;
};
inline std::vector<Copy> copies[1024];
inline size_t groups[1024];
inline size_t self() { return block.current - block.fibers; }
}  // namespace host

template <int BYTES>
void copy_async(void* to, const void* from, bool there) {
  host::copies[host::self()].push_back({to, there ? from : nullptr, BYTES, host::groups[host::self()]});
}
inline void commit_copies() { host::groups[host::self()]++; }
template <int LEFT>
void wait_copies() {
  auto& waiting = host::copies[host::self()];
  auto done = waiting.begin();
  for (; done != waiting.end() && done->group + LEFT < host::groups[host::self()]; ++done)
    if (done->from) std::memcpy(done->to, done->from, done->bytes);
    else std::memset(done->to, 0, done->bytes);
  waiting.erase(waiting.begin(), done);
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
