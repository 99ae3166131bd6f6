// Binary convolution with few filters a group, where the tiles of binary_gemm.cu would be almost empty: a thread
// for each output. RESULT, SCALED and SIGNS: see binary_epilogue.cuh.
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

extern "C" __global__ void __launch_bounds__(256, 3) binary_direct(
    const u64* __restrict__ words, const u64* __restrict__ filters, const int* __restrict__ sums,
    const Scale* __restrict__ scale, const Bias* __restrict__ bias, const RESULT* __restrict__ factor,
    RESULT* __restrict__ result, const Problem p) {
  const Epilogue e = {scale, bias, factor, result};
  const i64 all = p.groups * p.filters, step = index_step();
#ifdef SIGNS
  const i64 bits = (all + 63) / 64 * 64;  // a warp's 32 bits are one half of a word
  for (i64 i = first_index(); i < p.pixels * bits; i += step) {
    const i64 pixel = i / bits, o = i - pixel * bits;
    const bool bit = o < all && sign_of(window_sum(words, filters, sums, window_of(pixel, p), o, p), o, e);
    const u32 half = __ballot_sync(~0u, bit);
    if (threadIdx.x % 32 == 0) reinterpret_cast<u32*>(e.result)[i / 32] = half;
  }
#else
  // neighbouring threads write neighbours
  const bool by_pixel = p.pixel_stride != 1;
  for (i64 i = first_index(); i < p.pixels * all; i += step) {
    const i64 inner = by_pixel ? all : p.positions, outer = i / inner, at = i - outer * inner;
    const i64 o = by_pixel ? at : outer % all;
    const Window w = window_of(by_pixel ? outer : outer / all * p.positions + at, p);
    const i64 group = o / p.filters, place = place_of(w, group, p) + (o - group * p.filters) * p.filter_stride;
    e.result[place] = finished(window_sum(words, filters, sums, w, o, p), o, factor_of(w, group, p), e);
  }
#endif
}
