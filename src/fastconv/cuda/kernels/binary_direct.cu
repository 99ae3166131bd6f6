// Binary convolution with few filters a group, where the tiles of binary_gemm.cu would be almost empty: a thread
// for each output. RESULT and STEPS: see binary_epilogue.cuh.
#include "binary_epilogue.cuh"

// The sum of one window with one filter; outside the image p.outside times the filter's signs count.
__device__ __forceinline__ int window_sum(const u64* __restrict__ words, const u64* __restrict__ filters,
                                          const int* __restrict__ sums, const Window& w, i64 o, const Problem& p) {
  const Inside in = inside_of(w, p);
  const u64* image = words + w.image * p.image_step + o / p.filters * p.group_step;
  const u64* filter = filters + o * p.kernel_rows * p.kernel_columns * p.words;
  int differing = 0;
  for (i64 a = in.rows.first; a < in.rows.last; a++) {
    const u64* line = image + (w.row + a * p.dilation_rows) * p.row_step;
    for (i64 b = in.columns.first; b < in.columns.last; b++) {
      const u64* x = line + (w.column + b * p.dilation_columns) * p.column_step;
      const u64* f = filter + (a * p.kernel_columns + b) * p.words;
      for (i64 k = 0; k < p.words; k++) differing += __popcll(x[k] ^ f[k]);
    }
  }
  const i64 taps = (in.rows.last - in.rows.first) * (in.columns.last - in.columns.first);
  i64 y = p.channels * taps - 2 * (i64)differing;
  if (p.outside && p.channels && !all_inside(in, p)) y += p.outside * sum_outside(sums, o, in, p);
  return (int)y;
}

// Numbers and words of signs (pixels, w) are each made where they are wanted: where there is an address.
extern "C" __global__ void __launch_bounds__(256, 3) binary_direct(
    const u64* __restrict__ words, const u64* __restrict__ filters, const int* __restrict__ sums,
    RESULT* __restrict__ numbers, u32* __restrict__ signs, const Epilogue e, const Problem p) {
  const i64 all = p.groups * p.filters, step = index_step();
  const i64 width = signs ? (all + 63) / 64 * 64 : all;  // a warp's 32 bits are one half of a word
  const bool by_pixel = signs || p.pixel_stride != 1;    // else neighbouring threads would not write neighbours
  for (i64 i = first_index(); i < p.pixels * width; i += step) {
    const i64 inner = by_pixel ? width : p.positions, outer = i / inner, index = i - outer * inner;
    const i64 o = by_pixel ? index : outer % all;
    bool bit = false;
    if (o < all) {
      const Window w = window_of(by_pixel ? outer : outer / all * p.positions + index, p);
      const i64 group = o / p.filters, place = place_of(w, group, p) + (o - group * p.filters) * p.filter_stride;
      const RESULT v = finished(window_sum(words, filters, sums, w, o, p), {o, place, factor_of(w, group, p)}, e);
      if (numbers) numbers[place] = v;
      bit = signs && sign_of(v, o, e);
    }
    if (signs) {
      const u32 half = __ballot_sync(~0u, bit);
      if (threadIdx.x % 32 == 0) signs[i / 32] = half;
    }
  }
}
