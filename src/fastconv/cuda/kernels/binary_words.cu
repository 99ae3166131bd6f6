// Words of signs, besides multiplying them: sums of filters, channels regrouped, pooling.
#include "binary_problem.cuh"

// sums (O, kh + 1, kw + 1): of each filter the sum of the signs of all taps above and left of (a, b), from words
// (O, kh, kw, w) of `channels` signs a tap. Differences of four of them sum any rectangle of taps.
extern "C" __global__ void filter_sums(const u64* __restrict__ words, int* __restrict__ sums, i64 filters, i64 kh,
                                       i64 kw, i64 depth, i64 channels) {
  const int lane = threadIdx.x % 32;
  for (i64 i = first_index() / 32; i < filters * (kw + 1); i += index_step() / 32) {  // a warp for each column
    const i64 o = i / (kw + 1), b = i - o * (kw + 1);
    int above = 0;
    for (i64 a = 0; a <= kh; a++) {
      if (lane == 0) sums[(o * (kh + 1) + a) * (kw + 1) + b] = above;
      if (a == kh) break;
      const u64* row = words + (o * kh + a) * kw * depth;
      int ones = 0;
      for (i64 k = lane; k < b * depth; k += 32) ones += __popcll(row[k]);
      for (int distance = 16; distance; distance /= 2) ones += __shfl_xor_sync(~0u, ones, distance);
      above += (int)(2 * (i64)ones - b * channels);
    }
  }
}

// grouped (pixels, groups, w'): each group of `channels` signs in words of its own, from words (pixels, w) of all.
extern "C" __global__ void regroup(const u64* __restrict__ words, u64* __restrict__ grouped, i64 pixels, i64 depth,
                                   i64 groups, i64 channels) {
  const i64 own = (channels + 63) / 64, n = pixels * groups * own;
  for (i64 i = first_index(); i < n; i += index_step()) {
    const i64 word = i % own, rest = i / own, group = rest % groups, pixel = rest / groups;
    const i64 bit = group * channels + word * 64, at = bit / 64, count = min(channels - word * 64, (i64)64);
    const int shift = (int)(bit % 64);
    const u64* row = words + pixel * depth;
    u64 bits = row[at] >> shift;
    if (shift + count > 64) bits |= row[at + 1] << (64 - shift);
    grouped[i] = bits & (~0ull >> (64 - count));
  }
}

// pooled (N, Ho, Wo, w) = the OR of the words of images (N, H, W, w) under each window
extern "C" __global__ void max_pool(const u64* __restrict__ images, u64* __restrict__ pooled, const Problem p) {
  for (i64 i = first_index(); i < p.pixels * p.words; i += index_step()) {
    const i64 pixel = i / p.words, word = i - pixel * p.words;
    const Window w = window_of(pixel, p);
    const Inside in = inside_of(w, p);
    const u64* image = images + w.image * p.image_step + word;
    u64 bits = 0;
    for (i64 a = in.rows.first; a < in.rows.last; a++)
      for (i64 b = in.columns.first; b < in.columns.last; b++)
        bits |= image[(w.row + a) * p.row_step + (w.column + b) * p.column_step];
    pooled[i] = bits;
  }
}
