// The part of CUDA C++ that fastconv's kernels use, for g++: kernels run on the CPU, for tests.
//
// Every CUDA thread of a block is a fiber. Fibers run one at a time, in an order the caller chooses, and switch
// only where CUDA threads wait for each other: at barriers and at warp collectives. Blocks run one after
// another. So a missing barrier shows as a result that depends on the order, and a barrier that some threads
// never reach as an error. What it cannot see: weak memory ordering, bank conflicts, alignment of vectors.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#define FASTCONV_HOST
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(host::block.shared)

struct dim3 { unsigned x, y, z; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) ulonglong2 { unsigned long long x, y; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline ulonglong2 make_ulonglong2(unsigned long long x, unsigned long long y) { return {x, y}; }

namespace host {

enum State { READY, AT_BARRIER, AT_WARP, DONE };
constexpr size_t STACK = 64 << 10;
constexpr size_t SHARED_LIMIT = 100 << 10;
constexpr int WORDS = 8;  // that a lane deposits in one collective, at most

struct Copy {  // that a fiber has started and not waited for
  void* to;
  const void* from;
  size_t bytes, group;
};

struct Fiber {
  dim3 index;
  unsigned lane, warp, mask, turn;
  State state;
  std::vector<Copy> copies;
  size_t groups;
  jmp_buf here;
};

struct Collective {  // the deposits of one warp, for two collectives in a row
  uint32_t words[2][32][WORDS];
};

struct Block {
  dim3 grid, size, index;
  Fiber fibers[1024];
  size_t threads;
  std::vector<Collective> warps;
  char* shared;
  Fiber* current;
  void (*body)(void*);
  void* arguments;
  const char* error;
};
inline Block block;
inline jmp_buf scheduler;

struct Running {
  Fiber* begin() { return block.fibers; }
  Fiber* end() { return block.fibers + block.threads; }
};
inline Running running() { return {}; }

inline void wait(State state) {
  Fiber* self = block.current;
  self->state = state;
  if (!_setjmp(self->here)) _longjmp(scheduler, 1);
}

inline void fiber_main() {  // a fiber is used again for the next block
  for (;;) {
    block.body(block.arguments);
    wait(DONE);
  }
}

inline char* stacks() {
  static char* memory = static_cast<char*>(std::aligned_alloc(4096, 1024 * STACK));
  return memory;
}

inline bool& started(size_t i) {
  static bool flags[1024];
  return flags[i];
}

inline void resume(size_t i) {
  block.current = &block.fibers[i];
  if (_setjmp(scheduler)) return;
  if (started(i)) _longjmp(block.fibers[i].here, 1);
  started(i) = true;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = stacks() + i * STACK;
  context.uc_stack.ss_size = STACK;
  context.uc_link = nullptr;
  makecontext(&context, fiber_main, 0);
  setcontext(&context);
}

// Let the lanes go on that wait for a collective with this one, if all of them have come.
inline bool release_collective(Fiber& self) {
  if (self.state != AT_WARP) return false;
  Fiber* warp = &self - self.lane;
  for (unsigned lane = 0; lane < 32; lane++) {
    bool there = warp + lane < running().end() && warp[lane].state == AT_WARP && warp[lane].mask == self.mask;
    if (self.mask >> lane & 1 && !there) return false;
  }
  for (unsigned mask = self.mask, lane = 0; lane < 32; lane++)
    if (mask >> lane & 1) warp[lane].state = READY;
  return true;
}

// Let fibers go on whose barrier or collective is complete; false if there are none.
inline bool release() {
  size_t waiting = 0;
  for (Fiber& f : running()) waiting += f.state == AT_BARRIER;
  bool any = waiting == block.threads;
  if (any)
    for (Fiber& f : running()) f.state = READY;
  for (Fiber& f : running()) any |= release_collective(f);
  return any;
}

// Threads run in the given order, warps in step, or `ahead`: each to its next barrier before the others start.
inline void run_block(const std::vector<unsigned>& order, bool ahead) {
  for (;;) {
    bool ran = false, finished = true;
    for (size_t k = 0; k < order.size(); k++) {
      unsigned i = order[k];
      if (block.fibers[i].state != READY) continue;
      ran = true;
      resume(i);
      if (ahead && release_collective(block.fibers[i])) {
        while (k > 0 && order[k - 1] / 32 == i / 32) k--;
        k--;
      }
    }
    for (Fiber& f : running()) finished &= f.state == DONE;
    if (finished) return;
    if (!release() && !ran) {
      block.error = "deadlock: a barrier or warp collective that not all of its threads reach";
      for (size_t i = 0; i < 1024; i++) started(i) = false;  // their stacks are mid-way
      return;
    }
  }
}

// Every lane of `mask` deposits words; the table of all deposits comes back once they have arrived.
inline const uint32_t (*exchange(unsigned mask, const void* words, size_t bytes))[WORDS] {
  Fiber* self = block.current;
  if (!(mask >> self->lane & 1)) std::fprintf(stderr, "a lane calls a collective without being in its mask\n"), std::abort();
  auto& table = block.warps[self->warp].words[self->turn++ & 1];
  std::memcpy(table[self->lane], words, bytes);
  self->mask = mask;
  wait(AT_WARP);
  return table;
}

template <class T>
T shuffle(unsigned mask, T value, unsigned source, bool inside) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  auto table = exchange(mask, &value, sizeof value);
  if (inside) {
    if (!(mask >> source & 1)) std::fprintf(stderr, "a shuffle reads from a lane that is not in its mask\n"), std::abort();
    std::memcpy(&value, table[source], sizeof value);
  }
  return value;
}

template <class... A, size_t... I>
void apply(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<std::remove_reference_t<A>>*>(arguments[I])...);
}

// order: 0 the threads as they are numbered, 1 backwards, each warp as far as it gets; 2 all shuffled anew in every
// block, warps in step
template <class... A>
const char* launch(void (*kernel)(A...), const unsigned* sizes, unsigned shared, void** arguments, unsigned count, int order) {
  if (count != sizeof...(A)) return "wrong number of arguments";
  size_t threads = size_t(sizes[3]) * sizes[4] * sizes[5];
  if (!threads || threads > 1024) return "bad block size";
  if (!sizes[0] || !sizes[1] || !sizes[2] || sizes[1] > 65535 || sizes[2] > 65535) return "bad grid size";
  if (shared > 48 << 10) return "more than 48 KiB of shared memory";
  static char* memory = static_cast<char*>(std::aligned_alloc(1024, SHARED_LIMIT));
  struct Call { void (*kernel)(A...); void** arguments; } call{kernel, arguments};
  block.grid = {sizes[0], sizes[1], sizes[2]};
  block.size = {sizes[3], sizes[4], sizes[5]};
  block.shared = memory;
  block.error = nullptr;
  block.arguments = &call;
  block.body = [](void* c) { apply(static_cast<Call*>(c)->kernel, static_cast<Call*>(c)->arguments, std::index_sequence_for<A...>{}); };
  block.threads = threads;
  std::vector<unsigned> turns(threads);
  for (unsigned i = 0; i < threads; i++) turns[i] = order == 1 ? threads - 1 - i : i;
  std::mt19937 random(1);
  for (unsigned z = 0; z < sizes[2] && !block.error; z++)
    for (unsigned y = 0; y < sizes[1] && !block.error; y++)
      for (unsigned x = 0; x < sizes[0] && !block.error; x++) {
        block.index = {x, y, z};
        block.warps.assign((threads + 31) / 32, Collective{});
        std::memset(memory, 0xA5, shared);
        for (unsigned i = 0; i < threads; i++) {
          Fiber& f = block.fibers[i];
          f.index = {i % sizes[3], i / sizes[3] % sizes[4], i / sizes[3] / sizes[4]};
          f.lane = i % 32, f.warp = i / 32, f.turn = 0, f.state = READY;
          f.copies.clear(), f.groups = 0;
        }
        if (order == 2) std::shuffle(turns.begin(), turns.end(), random);
        run_block(turns, order != 2);
      }
  return block.error;
}

}  // namespace host

#define HOST_EXPORT(name)                                                                                   \
  extern "C" const char* launch_##name(const unsigned* sizes, unsigned shared, void** arguments, unsigned count, int order) { \
    return host::launch(name, sizes, shared, arguments, count, order);                                      \
  }

#define threadIdx (host::block.current->index)
#define blockIdx (host::block.index)
#define blockDim (host::block.size)
#define gridDim (host::block.grid)
using std::max;
using std::min;

inline void __syncthreads() { host::wait(host::AT_BARRIER); }
inline void __syncwarp(unsigned mask = ~0u) { host::exchange(mask, &mask, 4); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline unsigned long long __brevll(unsigned long long x) {
  unsigned long long r = 0;
  for (int i = 0; i < 64; i++) r |= (x >> i & 1) << (63 - i);
  return r;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  uint32_t bit = predicate != 0, result = 0;
  auto table = host::exchange(mask, &bit, 4);
  for (int lane = 0; lane < 32; lane++)
    if (mask >> lane & 1) result |= table[lane][0] << lane;
  return result;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) { return host::shuffle(mask, value, host::block.current->lane ^ distance, true); }
template <class T>
T __shfl_sync(unsigned mask, T value, int lane) { return host::shuffle(mask, value, lane & 31, true); }
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance) {
  unsigned source = host::block.current->lane + distance;
  return host::shuffle(mask, value, source, source < 32);
}
template <class T, class U>
T atomicAdd(T* place, U value) { T old = *place; *place += value; return old; }
template <class T, class U>
T atomicOr(T* place, U value) { T old = *place; *place |= value; return old; }
