// Windows of images as columns. ELEMENT is any type of an element's size: its bits are moved as they are. INDEX
// holds the places of a padded image. A thread takes WINDOWS windows, one above the other: they share their columns,
// and so most of the arithmetic.
#include "division.cuh"

__device__ __forceinline__ bool inside(INDEX place, INDEX count) {
  return sizeof(INDEX) == 4 ? (u32)place < (u32)count : (u64)place < (u64)count;
}

// columns (planes, kernel_h * kernel_w, out_h * out_w) of x (planes, h, w). A thread takes the pixels of its windows
// in `share` rows of taps, of which there are `shares`; a warp stores side by side.
extern "C" __global__ void __launch_bounds__(256) im2col(
    const ELEMENT* __restrict__ x, ELEMENT* __restrict__ columns, i64 planes, i64 shares, i64 share, i64 h, i64 w,
    i64 kernel_h, i64 kernel_w, i64 stride_h, i64 stride_w, i64 dilation_h, i64 dilation_w, i64 top, i64 left,
    i64 out_h, i64 out_w) {
  const i64 groups = (out_h + WINDOWS - 1) / WINDOWS;
  const INDEX across = kernel_w * dilation_w;
#pragma unroll 1
  for (i64 index = first_index(); index < planes * shares * groups * out_w; index += index_step()) {
    const Divided place = divided(index, out_w), group = divided(place.quotient, groups);
    const Divided part = divided(group.quotient, shares);
    const i64 begin = part.remainder * share, end = min(begin + share, kernel_h), i = group.remainder * WINDOWS;
    const int count = min(out_h - i, (i64)WINDOWS);
    const ELEMENT* plane = x + part.quotient * h * w;
    ELEMENT* target = columns + ((part.quotient * kernel_h + begin) * kernel_w * out_h + i) * out_w + place.remainder;
    const INDEX first = place.remainder * stride_w - left;
#pragma unroll 1
    for (i64 a = begin; a < end; a++) {
      INDEX lines[WINDOWS], widths[WINDOWS];
#pragma unroll
      for (int v = 0; v < WINDOWS; v++) {
        const INDEX row = (i + v) * stride_h - top + a * dilation_h;
        widths[v] = v < count && inside(row, h) ? w : 0;  // of a row outside, no pixel is inside
        lines[v] = row * (INDEX)w;
      }
#pragma unroll 1
      for (INDEX column = first; column < first + across; column += dilation_w, target += out_h * out_w) {
        ELEMENT values[WINDOWS];
#pragma unroll
        for (int v = 0; v < WINDOWS; v++) values[v] = inside(column, widths[v]) ? plane[lines[v] + column] : ELEMENT();
#pragma unroll
        for (int v = 0; v < WINDOWS; v++)
          if (v < count) target[v * out_w] = values[v];
      }
    }
  }
}
