// The means of |x| under windows. ELEMENT is the type of x (half, float or double), RESULT that of the means
// (float or double); sums are float64.
#include "binary_problem.cuh"
#include "half.cuh"
#include "rounded.cuh"

__device__ __forceinline__ double magnitude(double x) { return fabs(x); }
__device__ __forceinline__ double magnitude(float x) { return fabs(widened(x)); }
__device__ __forceinline__ double magnitude(half x) { return fabs(widened(to_float(x))); }

__device__ __forceinline__ void store(float* place, double mean) { *place = narrowed(mean); }
__device__ __forceinline__ void store(double* place, double mean) { *place = mean; }

// sums (N, G, H, W) of |x| over the channels of each group; steps of x for image, channel, row and column
extern "C" __global__ void channel_sums(const ELEMENT* __restrict__ x, double* __restrict__ sums, i64 n, i64 groups,
                                        i64 channels, i64 h, i64 w, i64 image_step, i64 channel_step, i64 row_step,
                                        i64 column_step) {
  // a warp for each pixel where channels are neighbours, else a thread
  const int lanes = channel_step == 1 ? 32 : 1, lane = threadIdx.x % lanes;
  for (i64 i = first_index() / lanes; i < n * groups * h * w; i += index_step() / lanes) {
    const i64 column = i % w, row = i / w % h, plane = i / w / h, image = plane / groups, group = plane % groups;
    const ELEMENT* first = x + image * image_step + group * channels * channel_step;
    const ELEMENT* at = first + row * row_step + column * column_step;
    double total = 0;
    for (i64 c = lane; c < channels; c += lanes) total += magnitude(at[c * channel_step]);
    if (lanes == 32)
      for (int distance = 16; distance; distance /= 2) total += __shfl_xor_sync(~0u, total, distance);
    if (lane == 0) sums[i] = total;
  }
}

// means of planes (N, G, H, W) under each window, which are sums of p.channels magnitudes
extern "C" __global__ void __launch_bounds__(256, 3) window_means(
    const ELEMENT* __restrict__ planes, RESULT* __restrict__ means, const Problem p) {
  const bool by_pixel = p.pixel_stride != 1;  // neighbouring threads write neighbours
  const double terms = (double)max(p.channels * p.kernel_rows * p.kernel_columns, (i64)1);
  for (i64 t = first_index(); t < p.pixels * p.groups; t += index_step()) {
    const i64 inner = by_pixel ? p.groups : p.positions, outer = t / inner, at = t - outer * inner;
    const i64 group = by_pixel ? at : outer % p.groups;
    const Window w = window_of(by_pixel ? outer : outer / p.groups * p.positions + at, p);
    const Inside in = inside_of(w, p);
    const ELEMENT* plane = planes + w.image * p.image_step + group * p.group_step;
    double total = 0;
    for (i64 a = in.rows.first; a < in.rows.last; a++)
#pragma unroll 2  // more would spill on sm_100
      for (i64 b = in.columns.first; b < in.columns.last; b++) {
        const i64 row = w.row + a * p.dilation_rows, column = w.column + b * p.dilation_columns;
        total += magnitude(plane[row * p.row_step + column * p.column_step]);
      }
    store(means + place_of(w, group, p), total / terms);
  }
}
