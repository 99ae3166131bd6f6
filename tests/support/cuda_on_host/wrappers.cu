// What kernels use of PTX, by way of wrappers: test_cuda_on_host.py tests their host twins with this.
#include "copy_async.cuh"
#include "half.cuh"

extern "C" __global__ void halves(float* wide, u16* narrow, const half* x, const float* y, i64 n) {
  for (i64 i = first_index(); i < n; i += index_step()) {
    wide[i] = to_float(x[i]);
    narrow[i] = to_half(y[i]).bits;
  }
}

// Every other thread copies 16 bytes, the rest store zeros; what is there before and after waiting
extern "C" __global__ void copies(u32* early, u32* late, const u32* x) {
  __shared__ __align__(16) u32 row[128];
  const int thread = threadIdx.x;
  for (int i = 0; i < 4; i++) row[4 * thread + i] = 7;
  copy_async<16>(row + 4 * thread, x + 4 * thread, thread % 2 == 0);
  commit_copies();
  for (int i = 0; i < 4; i++) early[4 * thread + i] = row[4 * thread + i];
  wait_copies<0>();
  for (int i = 0; i < 4; i++) late[4 * thread + i] = row[4 * thread + i];
}

// A copy that nobody waits for
extern "C" __global__ void forgotten(u32* out, const u32* x) {
  __shared__ __align__(16) u32 row[32];
  row[threadIdx.x] = 7;
  copy_async<4>(row + threadIdx.x, x + threadIdx.x, true);
  commit_copies();
  out[threadIdx.x] = row[threadIdx.x];
}
