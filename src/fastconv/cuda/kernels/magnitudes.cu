// The means of |x| under windows. ELEMENT is the type of x, RESULT that of the means; sums are float64.
#include "half.cuh"
#include "rounded.cuh"

template <class T>
__device__ __forceinline__ double magnitude(T x) { return fabs((double)x); }
__device__ __forceinline__ double magnitude(float x) { return fabs(widened(x)); }
__device__ __forceinline__ double magnitude(half x) { return fabs(widened(to_float(x))); }

__device__ __forceinline__ void store(float* place, double mean) { *place = narrowed(mean); }
__device__ __forceinline__ void store(double* place, double mean) { *place = mean; }

// sums (N, G, H, W) of |x| over the channels of each group; steps of x for image, channel, row and column
extern "C" __global__ void channel_sums(const ELEMENT* __restrict__ x, double* __restrict__ sums, i64 n, i64 groups, i64 channels, i64 h, i64 w,
                                        i64 image_step, i64 channel_step, i64 row_step, i64 column_step) {
  // a warp for each pixel where channels are neighbours, else a thread
  const int lanes = channel_step == 1 ? 32 : 1, lane = threadIdx.x % lanes;
  for (i64 i = first_index() / lanes; i < n * groups * h * w; i += index_step() / lanes) {
    const i64 column = i % w, row = i / w % h, plane = i / w / h, image = plane / groups, group = plane % groups;
    const ELEMENT* at = x + image * image_step + group * channels * channel_step + row * row_step + column * column_step;
    double total = 0;
    for (i64 c = lane; c < channels; c += lanes) total += magnitude(at[c * channel_step]);
    if (lanes == 32)
      for (int distance = 16; distance; distance /= 2) total += __shfl_xor_sync(~0u, total, distance);
    if (lane == 0) sums[i] = total;
  }
}

// means (N, G, Ho, Wo), or (N, Ho, Wo, G) with channels_last, of planes (N, G, H, W) with steps of their own;
// `terms` is how many magnitudes each is the mean of
extern "C" __global__ void window_means(const ELEMENT* __restrict__ planes, RESULT* __restrict__ means, i64 n, i64 groups, i64 height, i64 width,
                                        i64 channels_last, i64 h, i64 w, i64 image_step, i64 group_step, i64 row_step, i64 column_step,
                                        i64 kh, i64 kw, i64 stride_rows, i64 stride_columns, i64 dilation_rows, i64 dilation_columns,
                                        i64 top, i64 left, i64 terms) {
  for (i64 t = first_index(); t < n * groups * height * width; t += index_step()) {
    const i64 j = t % width, i = t / width % height, group = t / width / height % groups, image = t / width / height / groups;
    const ELEMENT* plane = planes + image * image_step + group * group_step;
    double total = 0;
    for (i64 a = 0; a < kh; a++) {
      const i64 row = i * stride_rows - top + a * dilation_rows;
      if (row < 0 || row >= h) continue;
      for (i64 b = 0; b < kw; b++) {
        const i64 column = j * stride_columns - left + b * dilation_columns;
        if (column >= 0 && column < w) total += magnitude(plane[row * row_step + column * column_step]);
      }
    }
    const i64 place = channels_last ? ((image * height + i) * width + j) * groups + group : t;
    store(means + place, total / (double)max(terms, (i64)1));
  }
}
