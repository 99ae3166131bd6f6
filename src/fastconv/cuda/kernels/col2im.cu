// Columns put back where they came from. Elements are added as SUM; LOGICAL says that any nonzero sum is 1.
#include "division.cuh"
#include "half.cuh"
#include "sums.cuh"

#define BATCH 4  // taps a thread loads before it adds any

template <class S, class T>
__device__ __forceinline__ S summand(T x) { return x; }
template <>
__device__ __forceinline__ float summand<float, half>(half x) { return to_float(x); }

__device__ __forceinline__ ELEMENT stored(SUM x) {
#if defined(LOGICAL)
  return x != 0;
#elif defined(HALF)
  return to_half(x);
#else
  return x;
#endif
}

// One direction of the windows. `common` is the greatest common divisor of stride and dilation; after `period`
// taps the next one lies on the same pixel, in the window `back` before.
struct Axis {
  i64 kernel, stride, dilation, before, windows, common, inverse, period, back;
};

// Which taps lie on a pixel: the first, the window it belongs to, and how many there are.
struct Taps {
  i64 tap, window, count;
};

__device__ __forceinline__ Taps taps_on(i64 pixel, const Axis& axis) {
  const i64 place = pixel + axis.before;
  i64 tap = 0, window = place;
  if (axis.stride > 1) {
    const Divided common = divided(place, axis.common);
    tap = divided(divided(common.quotient, axis.period).remainder * axis.inverse, axis.period).remainder;
    const i64 start = place - tap * axis.dilation;
    if (common.remainder || tap >= axis.kernel || start < 0) return {0, 0, 0};
    window = divided(start, axis.stride).quotient;
  }
  const i64 beyond = max(window - axis.windows + axis.back, (i64)0), skipped = divided(beyond, axis.back).quotient;
  const i64 last = min(divided(window, axis.back).quotient, divided(axis.kernel - 1 - tap, axis.period).quotient);
  return {tap + skipped * axis.period, window - skipped * axis.back, last + 1 - skipped};
}

// image (planes, h, w) of columns (planes, kernel_h * kernel_w, out_h * out_w): a thread gathers one pixel.
extern "C" __global__ void __launch_bounds__(256, 4) col2im(
    const ELEMENT* __restrict__ columns, ELEMENT* __restrict__ image, i64 planes, i64 h, i64 w, i64 kernel_h,
    i64 kernel_w, i64 stride_h, i64 stride_w, i64 dilation_h, i64 dilation_w, i64 top, i64 left, i64 out_h,
    i64 out_w, i64 common_h, i64 common_w, i64 inverse_h, i64 inverse_w) {
  const Axis down = {kernel_h, stride_h, dilation_h, top, out_h, common_h, inverse_h, stride_h / common_h,
                     dilation_h / common_h};
  const Axis across = {kernel_w, stride_w, dilation_w, left, out_w, common_w, inverse_w, stride_w / common_w,
                       dilation_w / common_w};
  const i64 positions = out_h * out_w;
  const i64 next_row = down.period * kernel_w * positions - down.back * out_w;
  const i64 next = across.period * positions - across.back;
#pragma unroll 1
  for (i64 index = first_index(); index < planes * h * w; index += index_step()) {
    const Divided line = divided(index, w), plane = divided(line.quotient, h);
    const Taps rows = taps_on(plane.remainder, down), taps = taps_on(line.remainder, across);
    const i64 first = (plane.quotient * kernel_h + rows.tap) * kernel_w + taps.tap;
    const ELEMENT* row = columns + first * positions + rows.window * out_w + taps.window;
    SUM sum = SUM();
#pragma unroll 1
    for (i64 a = 0; a < rows.count; a++, row += next_row) {
      const ELEMENT* source = row;
#pragma unroll 1
      for (i64 b = 0; b < taps.count; b += BATCH) {
        const int count = min(taps.count - b, (i64)BATCH);
        ELEMENT values[BATCH];
#pragma unroll
        for (int u = 0; u < BATCH; u++) values[u] = u < count ? source[u * next] : ELEMENT();
#pragma unroll
        for (int u = 0; u < BATCH; u++) sum = total(sum, summand<SUM>(values[u]));
        source += BATCH * next;
      }
    }
    image[index] = stored(sum);
  }
}
