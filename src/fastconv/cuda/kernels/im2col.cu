// Windows of images as columns. ELEMENT is any type of an element's size: its bits are moved as they are.
#include "division.cuh"

#define BATCH 4  // taps a thread loads before it stores any

// columns (planes, kernel_h * kernel_w, out_h * out_w) of x (planes, h, w). A thread takes one window's pixels
// of `share` taps, of which there are `shares`, so that a warp stores side by side.
extern "C" __global__ void __launch_bounds__(256) im2col(
    const ELEMENT* __restrict__ x, ELEMENT* __restrict__ columns, i64 planes, i64 shares, i64 share, i64 h, i64 w,
    i64 kernel_h, i64 kernel_w, i64 stride_h, i64 stride_w, i64 dilation_h, i64 dilation_w, i64 top, i64 left,
    i64 out_h, i64 out_w) {
  const i64 positions = out_h * out_w, taps = kernel_h * kernel_w;
#pragma unroll 1
  for (i64 index = first_index(); index < planes * shares * positions; index += index_step()) {
    const Divided window = divided(index, positions), part = divided(window.quotient, shares);
    const Divided corner = divided(window.remainder, out_w);
    const i64 begin = part.remainder * share, end = min(begin + share, taps);
    const Divided tap = divided(begin, kernel_w);
    const ELEMENT* plane = x + part.quotient * h * w;
    ELEMENT* target = columns + (part.quotient * taps + begin) * positions + window.remainder;
    const i64 first = corner.remainder * stride_w - left;
    i64 row = corner.quotient * stride_h - top + tap.quotient * dilation_h;
    i64 b = tap.remainder;
#pragma unroll 1
    for (i64 t = begin; t < end; t += BATCH) {
      ELEMENT values[BATCH];
#pragma unroll
      for (int u = 0; u < BATCH; u++) {
        const i64 column = first + b * dilation_w;
        const bool inside = t + u < end && (u64)row < (u64)h && (u64)column < (u64)w;
        values[u] = inside ? plane[row * w + column] : ELEMENT();
        if (++b == kernel_w) b = 0, row += dilation_h;
      }
#pragma unroll
      for (int u = 0; u < BATCH; u++, target += positions)
        if (t + u < end) *target = values[u];
    }
  }
}
