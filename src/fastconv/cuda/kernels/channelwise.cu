// Numbers channel by channel, in one pass: steps, the largest of each window, steps again, signs.
#include "binary_epilogue.cuh"

__device__ __forceinline__ bool is_nan(RESULT v) { return !reaches(v, v); }

// What max-pooling keeps of two numbers: a NaN goes on.
__device__ __forceinline__ RESULT larger(RESULT a, RESULT b) { return less(a, b) || is_nan(b) ? b : a; }

// Of x (N, H, W, C), p.channels being C: numbers (N, Ho, Wo, C) and halves of words (comparisons, N, Ho, Wo, 2 * w),
// either of which may be missing. A warp takes 32 channels of a pixel.
extern "C" __global__ void follow(const RESULT* __restrict__ x, RESULT* __restrict__ numbers,
                                  unsigned* __restrict__ halves, i64 comparisons, i64 before, i64 steps, const Problem p,
                                  const Epilogue e) {
  const i64 lane = threadIdx.x % 32, depth = (p.channels + 63) / 64 * 2;
  for (i64 i = first_index() / 32; i < p.pixels * depth; i += index_step() / 32) {
    const i64 pixel = i / depth, half = i - pixel * depth, c = half * 32 + lane;
    const bool own = c < p.channels;
    RESULT v = 0;
    if (own) {
      const Window w = window_of(pixel, p);
      const Inside in = inside_of(w, p);
      const RESULT* image = x + w.image * p.image_step + c;
      const Origin from = {c, 0, 0};
      bool first = true;
      for (i64 a = in.rows.first; a < in.rows.last; a++)
        for (i64 b = in.columns.first; b < in.columns.last; b++) {
          const RESULT given = image[(w.row + a) * p.row_step + (w.column + b) * p.column_step];
          const RESULT next = stepped(given, from, e, 0, before);
          v = first ? next : larger(v, next);
          first = false;
        }
      v = stepped(v, from, e, before, steps);
      if (numbers) numbers[pixel * p.channels + c] = v;
    }
    for (i64 k = 0; k < comparisons; k++) {
      const i64 at = k * p.channels + c;
      const bool bit = own && !is_nan(v) && reaches(v, value_of(e.tau, at)) != (value_of(e.flip, at) != 0);
      const unsigned bits = __ballot_sync(~0u, bit);
      if (lane == 0) halves[(k * p.pixels + pixel) * depth + half] = bits;
    }
  }
}
