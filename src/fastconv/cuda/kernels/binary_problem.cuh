// A binary convolution, or pooling, as kernels see it: its sizes and strides, and what lies under each window.
#pragma once
#include "common.cuh"

// Passed by value; the fields are FIELDS of fastconv/_shared/problem.py, in that order.
struct Problem {
  i64 pixels, positions, output_columns;  // of all images, of one, of a row
  i64 groups, filters, channels, words;   // of a group; of a tap
  i64 rows, columns;                      // of the input
  i64 kernel_rows, kernel_columns, stride_rows, stride_columns, dilation_rows, dilation_columns, top, left;
  i64 image_step, group_step, row_step, column_step;            // of the input, in words
  i64 image_stride, group_stride, filter_stride, pixel_stride;  // of the result
  i64 outside;  // what the sum of a filter's signs outside the image is to be multiplied by and added
};

// An output pixel, and the input pixel under the first tap, which may lie outside.
struct Window {
  i64 image, position, row, column;
};

__device__ __forceinline__ Window window_of(i64 pixel, const Problem& p) {
  const i64 image = pixel / p.positions, position = pixel - image * p.positions;
  const i64 i = position / p.output_columns, j = position - i * p.output_columns;
  return {image, position, i * p.stride_rows - p.top, j * p.stride_columns - p.left};
}

// Taps [first, last) of `taps`, `dilation` apart, that lie within [0, size) if the first lies at `start`
struct Range {
  i64 first, last;
};

__device__ __forceinline__ i64 taps_before(i64 distance, i64 dilation, i64 taps) {
  return distance <= 0 ? 0 : min(taps, (distance + dilation - 1) / dilation);
}

__device__ __forceinline__ Range taps_inside(i64 start, i64 size, i64 dilation, i64 taps) {
  return {taps_before(-start, dilation, taps), taps_before(size - start, dilation, taps)};
}

struct Inside {
  Range rows, columns;
};

__device__ __forceinline__ Inside inside_of(const Window& w, const Problem& p) {
  return {taps_inside(w.row, p.rows, p.dilation_rows, p.kernel_rows),
          taps_inside(w.column, p.columns, p.dilation_columns, p.kernel_columns)};
}

__device__ __forceinline__ bool all_inside(const Inside& in, const Problem& p) {
  return in.rows.first == 0 && in.columns.first == 0 && in.rows.last == p.kernel_rows &&
         in.columns.last == p.kernel_columns;
}

__device__ __forceinline__ i64 place_of(const Window& w, i64 group, const Problem& p) {
  return w.image * p.image_stride + group * p.group_stride + w.position * p.pixel_stride;
}

__device__ __forceinline__ i64 factor_of(const Window& w, i64 group, const Problem& p) {
  return (w.image * p.groups + group) * p.positions + w.position;
}

// The sum of all signs of filter `o`: the last entry of its table, see filter_sums in binary_words.cu.
__device__ __forceinline__ int sum_of_signs(const int* sums, i64 o, const Problem& p) {
  return sums[(o + 1) * (p.kernel_rows + 1) * (p.kernel_columns + 1) - 1];
}

// The sum of the signs of those of its taps that lie outside the image.
__device__ __forceinline__ int sum_outside(const int* sums, i64 o, const Inside& in, const Problem& p) {
  const i64 width = p.kernel_columns + 1;
  const int* table = sums + o * (p.kernel_rows + 1) * width;
  const int *upper = table + in.rows.first * width, *lower = table + in.rows.last * width;
  const int below = lower[in.columns.last] - lower[in.columns.first];
  const int above = upper[in.columns.last] - upper[in.columns.first];
  return sum_of_signs(sums, o, p) - (below - above);
}
