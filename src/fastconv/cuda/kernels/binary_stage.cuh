// A tile of a binary product in shared memory: TILE pixels and TILE filters, STEP words of each at a time.
#pragma once
#include "binary_problem.cuh"
#include "copy_async.cuh"

const int TILE = 64;             // output pixels, and filters, of a block
const int BLOCK = 128;           // threads: four warps, each with 32 x 32 of the sums in registers
const int STEP = 8;              // words of 64 bits of every row in a stage: two sectors of memory
const int STAGES = 2;            // one on its way while one is multiplied; with more, sm_86 has room for few blocks
const int PITCH = 2 * STEP + 4;  // of a row, in words of 32 bits: 8 rows' 16 bytes then lie in all 32 banks
const int STAGE = 2 * TILE * PITCH;

// A place in a filter: a tap and a word of it.
struct Cursor {
  int row, column, word;
};

__device__ __forceinline__ Cursor cursor_at(int word, const Problem& p) {
  const int depth = (int)p.words, width = (int)p.kernel_columns, tap = word / depth;
  return {tap / width, tap % width, word - tap * depth};
}

__device__ __forceinline__ void advance(Cursor& c, const Cursor& by, const Problem& p) {
  c.word += by.word, c.column += by.column, c.row += by.row;
  if (c.word >= p.words) c.word -= (int)p.words, c.column++;
  if (c.column >= p.kernel_columns) c.column -= (int)p.kernel_columns, c.row++;
}

// A pixel of the tile: its taps inside the image, none if there is no such pixel, where the words under its first tap
// would be, and where its sums go. Filters with channels have few enough taps for ints.
struct __align__(16) Pixel {
  int first_row, last_row, first_column, last_column;
  i64 start, place, factor;
  bool exists, cut;
};

__device__ __forceinline__ Pixel pixel_of(i64 pixel, i64 group, const Problem& p) {
  if (pixel >= p.pixels) return {};
  const Window w = window_of(pixel, p);
  const Inside in = inside_of(w, p);
  const i64 start = w.image * p.image_step + group * p.group_step + w.row * p.row_step + w.column * p.column_step;
  return {(int)in.rows.first, (int)in.rows.last, (int)in.columns.first, (int)in.columns.last,
          start, place_of(w, group, p), factor_of(w, group, p), true, !all_inside(in, p)};
}

__device__ __forceinline__ Inside inside_of(const Pixel& pixel) {
  return {{pixel.first_row, pixel.last_row}, {pixel.first_column, pixel.last_column}};
}

__device__ __forceinline__ bool has_tap(const Pixel& pixel, const Cursor& at) {
  return pixel.first_row <= at.row && at.row < pixel.last_row && pixel.first_column <= at.column &&
         at.column < pixel.last_column;
}

// What a thread copies in every step: COPY words, from `across` on, of each of COUNT pixels and filters, which are
// APART rows apart.
template <int COPY>
struct Rows {
  static const int APART = BLOCK * COPY / STEP;
  static const int COUNT = TILE / APART;
  int line, across;
  Cursor at, step;
  const u64 *words, *filter;
  i64 depth;    // words of a filter
  int filters;  // of this tile
};

template <int COPY>
__device__ __forceinline__ Rows<COPY> rows_of(const u64* words, const u64* filters, i64 group, i64 first_filter,
                                              const Problem& p) {
  const int line = threadIdx.x / (STEP / COPY), across = threadIdx.x % (STEP / COPY) * COPY;
  const i64 depth = p.kernel_rows * p.kernel_columns * p.words;
  const u64* filter = filters + (group * p.filters + first_filter + line) * depth + across;
  const int count = (int)min(p.filters - first_filter, (i64)TILE);
  return {line, across, cursor_at(across, p), cursor_at(STEP, p), words, filter, depth, count};
}

// Start copying the next step to `stage`: pixels, then filters; zeros for what is outside, or beyond the end.
template <int COPY>
__device__ __forceinline__ void copy_step(u32* stage, const Pixel* pixels, Rows<COPY>& r, const Problem& p) {
  typedef Rows<COPY> R;
  const i64 down = r.at.row * (p.dilation_rows * p.row_step);
  const i64 right = r.at.column * (p.dilation_columns * p.column_step);
  const i64 tap = down + right + r.at.word;
  const bool more = r.at.row < p.kernel_rows;
#pragma unroll
  for (int i = 0; i < R::COUNT; i++) {
    const int line = r.line + i * R::APART;
    const Pixel& pixel = pixels[line];
    u32* to = stage + line * PITCH + 2 * r.across;
    copy_async<8 * COPY>(to, r.words + (pixel.start + tap), has_tap(pixel, r.at));
    copy_async<8 * COPY>(to + TILE * PITCH, r.filter + i * R::APART * r.depth, more && line < r.filters);
  }
  commit_copies();
  advance(r.at, r.step, p);
  r.filter += STEP;
}
