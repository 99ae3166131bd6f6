// Kernels with which test_cuda_on_host.py tests the host twin of CUDA. ELEMENT is a number's type.
// Those below the line are wrong.

extern "C" __global__ void indices(unsigned* out) {
  unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block << 16 | thread;
}

extern "C" __global__ void reversed(ELEMENT* out, const ELEMENT* x) {
  DYNAMIC_SHARED(ELEMENT, row);
  row[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void first_word(unsigned* out) {
  DYNAMIC_SHARED(unsigned, row);
  out[blockIdx.x] = row[0];
  row[0] = 1;
}

extern "C" __global__ void ballots(unsigned* out, const int* x, unsigned mask) {
  if (mask >> threadIdx.x % 32 & 1) out[threadIdx.x] = __ballot_sync(mask, x[threadIdx.x]);
}

extern "C" __global__ void shuffles(ELEMENT* out, const ELEMENT* x) {  // one row for each
  const int lane = threadIdx.x;
  out[lane] = __shfl_sync(~0u, x[lane], 5);
  out[lane + 32] = __shfl_sync(~0u, x[lane], (lane + 3) % 32);
  out[lane + 64] = __shfl_xor_sync(~0u, x[lane], 17);
  out[lane + 96] = __shfl_down_sync(~0u, x[lane], 8);
}

extern "C" __global__ void in_a_row(unsigned* out) {
  unsigned v = threadIdx.x, sum = 0;
  for (int i = 0; i < 7; i++) sum += __shfl_xor_sync(~0u, v + i, 1) * __popc(__ballot_sync(~0u, v > i));
  __syncwarp();
  out[threadIdx.x] = sum;
}

extern "C" __global__ void atomic_sum(ELEMENT* out) { atomicAdd(out, (ELEMENT)(threadIdx.x + 1)); }

extern "C" __global__ void atomic_bits(unsigned* before, unsigned* bits) {
  before[threadIdx.x] = atomicOr(bits, 1u << threadIdx.x) >> threadIdx.x & 1;
}

extern "C" __global__ void bit_functions(unsigned long long* out, const unsigned long long* x) {
  const int i = threadIdx.x;
  out[i] = __popc((unsigned)x[i]);
  out[i + 32] = __popcll(x[i]);
  out[i + 64] = __brevll(x[i]);
}

// -------------------------------------------------------------------------------------------------------------

extern "C" __global__ void without_barrier(ELEMENT* out, const ELEMENT* x) {
  DYNAMIC_SHARED(ELEMENT, row);
  row[threadIdx.x] = x[threadIdx.x];
  out[threadIdx.x] = row[blockDim.x - 1 - threadIdx.x];
}

extern "C" __global__ void last_writer(unsigned* out) { out[0] = threadIdx.x; }

extern "C" __global__ void half_a_barrier(unsigned* out) {
  if (threadIdx.x < 16) __syncthreads();
  out[threadIdx.x] = 0;
}

extern "C" __global__ void half_a_ballot(unsigned* out) {
  if (threadIdx.x < 16) out[threadIdx.x] = __ballot_sync(~0u, 1);
}

extern "C" __global__ void two_barriers(unsigned* out) {
  if (threadIdx.x == 0) __syncthreads();
  else __syncwarp();
  out[threadIdx.x] = 0;
}
