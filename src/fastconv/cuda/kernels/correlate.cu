// Correlation of images with kernels of any size, by direct sums.
//
// PIXEL, SUM and RESULT are the types of pixels, of sums and taps, and of results. A block makes a tile of
// results, each thread ROWS of them below one another, so that a pixel once loaded serves ROWS products. The taps
// come in chunks of at most ROWS x HALO; for each, the taps and the pixels under the tile, in rows of PITCH, go to
// shared memory.
#include "common.cuh"
#include "copy_async.cuh"
#include "division.cuh"
#include "half.cuh"
#include "sums.cuh"

enum Boundary { FILL, WRAP, SYMM };
#if __CUDA_ARCH__ > 800
const int BLOCKS = sizeof(SUM) == 4 ? 4 : 3;  // of a multiprocessor: 4 need sums and all else in 64 registers
#else
const int BLOCKS = 3;
#endif
const int GROUP = Vector<SUM>::size;  // taps that come in one load

struct Image {
  const PIXEL* pixels;
  i64 height, width, boundary;
  SUM fill;
};

// The pixel of n that stands at `position`, maybe outside; -1 for the fill value
__device__ __forceinline__ i64 source(i64 position, i64 n, i64 boundary) {
  if (position >= 0 && position < n) return position;
  if (boundary == FILL) return -1;
  const i64 period = boundary == WRAP ? n : 2 * n;
  const i64 folded = (position % period + period) % period;
  return folded < n ? folded : period - 1 - folded;
}

__device__ __forceinline__ float summand(half x) { return to_float(x); }
template <class T>
__device__ __forceinline__ SUM summand(T x) { return (SUM)x; }

__device__ __forceinline__ void load(SUM* place, const SUM* pixel) { copy_async<sizeof(SUM)>(place, pixel, true); }
template <class T>
__device__ __forceinline__ void load(SUM* place, const T* pixel) { *place = summand(*pixel); }

__device__ __forceinline__ void store(half* place, float sum) { *place = to_half(sum); }
template <class T>
__device__ __forceinline__ void store(T* place, SUM sum) { *place = (T)sum; }

// Every step-th pixel of column c of a tile of pixels, the first of which is that at (top, left)
template <bool INSIDE>
__device__ __forceinline__ void load_column(const Image& image, i64 top, i64 left, SUM* tile, int c, int first, int rows, int step) {
  if (INSIDE) {
    const PIXEL* pixel = image.pixels + (top + first) * image.width + left + c;
#pragma unroll 4
    for (int r = first; r < rows; r += step, pixel += step * image.width) load(tile + r * PITCH + c, pixel);
    return;
  }
  const i64 x = source(left + c, image.width, image.boundary);
#pragma unroll 1
  for (int r = first; r < rows; r += step) {
    const i64 y = source(top + r, image.height, image.boundary);
    tile[r * PITCH + c] = x < 0 || y < 0 ? image.fill : summand(image.pixels[y * image.width + x]);
  }
}

// A tile of pixels: each thread loads from its own column, and all of them the columns beside the tile of results
template <bool INSIDE>
__device__ __forceinline__ void load_pixels(const Image& image, i64 top, i64 left, SUM* tile, int rows, int columns) {
  const int thread = threadIdx.y * blockDim.x + threadIdx.x, threads = blockDim.x * blockDim.y;
#pragma unroll 1
  for (int beside = 0; beside < 2; beside++) {
    const int c = beside ? blockDim.x + thread % HALO : threadIdx.x, first = beside ? thread / HALO : threadIdx.y;
    if (c < columns) load_column<INSIDE>(image, top, left, tile, c, first, rows, beside ? threads / HALO : blockDim.y);
  }
}

__device__ __forceinline__ void load_tile(const Image& image, i64 top, i64 left, SUM* tile, int rows, int columns) {
  if (top >= 0 && left >= 0 && top + rows <= image.height && left + columns <= image.width)
    load_pixels<true>(image, top, left, tile, rows, columns);
  else
    load_pixels<false>(image, top, left, tile, rows, columns);
}

// Taps by columns of ROWS, from rows of `pitch`
__device__ __forceinline__ void load_taps(const SUM* kernel, i64 pitch, SUM* taps, int rows, int columns) {
  for (int i = threadIdx.y * blockDim.x + threadIdx.x; i < columns * ROWS; i += blockDim.x * blockDim.y)
    if (i % ROWS < rows) taps[i] = kernel[i % ROWS * pitch + i / ROWS];
}

// Products of tap A of a column. pixels[i % ROWS] is that of row i; those that tap A - 1 meets are there, one is new.
template <int A>
__device__ __forceinline__ void add_tap(SUM (&sums)[ROWS], SUM (&pixels)[ROWS], const SUM* column, SUM tap) {
  if (A > 0) pixels[(A + ROWS - 1) % ROWS] = column[(A + ROWS - 1) * PITCH];
#pragma unroll
  for (int r = 0; r < ROWS; r++) sums[r] = plus_product(sums[r], pixels[(A + r) % ROWS], tap);
}

// Products of taps A + K to A + count - 1
template <int A, int K>
__device__ __forceinline__ void add_group(
    SUM (&sums)[ROWS], SUM (&pixels)[ROWS], const SUM* column, const Vector<SUM>& group, int count) {
  if (K >= count) return;
  add_tap<A + K>(sums, pixels, column, group.at[K]);
  if constexpr (K + 1 < GROUP) add_group<A, K + 1>(sums, pixels, column, group, count);
}

// Products of tap A and those after it, in a column of `rows`; whole groups need no conditions within
template <int A>
__device__ __forceinline__ void add_taps(
    SUM (&sums)[ROWS], SUM (&pixels)[ROWS], const SUM* column, const SUM* taps, int rows) {
  if (A >= rows) return;
  const Vector<SUM> group = *reinterpret_cast<const Vector<SUM>*>(taps + A);
  if (A + GROUP <= rows) add_group<A, 0>(sums, pixels, column, group, GROUP);
  else add_group<A, 0>(sums, pixels, column, group, rows - A);
  if constexpr (A + GROUP < ROWS) add_taps<A + GROUP>(sums, pixels, column, taps, rows);
}

// Products of a column of `rows` taps with the column of pixels under a thread's results
__device__ __forceinline__ void add_column(SUM (&sums)[ROWS], const SUM* column, const SUM* taps, int rows) {
  SUM pixels[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; i++) pixels[i] = column[i * PITCH];
  add_taps<0>(sums, pixels, column, taps, rows);
}

// Sums of earlier chunks wait in shared memory, those of a thread `threads` apart
__device__ __forceinline__ void keep(const SUM (&sums)[ROWS], SUM* kept, int threads) {
#pragma unroll
  for (int r = 0; r < ROWS; r++) kept[r * threads] = sums[r];
}

__device__ __forceinline__ void add_kept(SUM (&sums)[ROWS], const SUM* kept, int threads) {
#pragma unroll
  for (int r = 0; r < ROWS; r++) sums[r] = total(sums[r], kept[r * threads]);
}

__device__ __forceinline__ void store_all(const SUM (&sums)[ROWS], RESULT* place, i64 step, int count) {
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    if (r < count) store(place + r * step, sums[r]);
}

// Result (i, j) and tap (0, 0) meet at pixel (i - above, j - left); if `mirrored`, results are stored in reverse
// order. Tiles are numbered, across x down for each of a batch of 4 dimensions, the last of sizes n1, n2 and n3,
// along which images and kernels have steps in elements.
extern "C" __global__ void __launch_bounds__(256, BLOCKS) correlate(
    const PIXEL* __restrict__ images, const SUM* __restrict__ kernels, RESULT* __restrict__ results, SUM fill,
    i64 boundary, i64 height, i64 width, i64 kernel_height, i64 kernel_width, i64 above, i64 left, i64 rows,
    i64 columns, i64 mirrored, i64 chunk_height, i64 chunk_width, i64 first_tile, i64 across, i64 down, i64 n1, i64 n2,
    i64 n3, i64 image0, i64 image1, i64 image2, i64 image3, i64 kernel0, i64 kernel1, i64 kernel2, i64 kernel3) {
  DYNAMIC_SHARED(SUM, taps);
  const int tile_rows = blockDim.y * ROWS, threads = blockDim.x * blockDim.y;
  SUM* tile = taps + chunk_width * ROWS;
  SUM* kept = tile + (tile_rows + chunk_height - 1) * PITCH + threadIdx.y * blockDim.x + threadIdx.x;
  const SUM* pixels = tile + threadIdx.y * ROWS * PITCH + threadIdx.x;
  const i64 size = rows * columns, step = mirrored ? -columns : columns;
  const Divided x = divided(first_tile + blockIdx.x, across), y = divided(x.quotient, down);
  const i64 j0 = x.remainder * blockDim.x, i0 = y.remainder * tile_rows;
  const i64 i = i0 + threadIdx.y * ROWS, j = j0 + threadIdx.x, at = i * columns + j;
  RESULT* place = results + y.quotient * size + (mirrored ? size - 1 - at : at);
  const int own = (int)min(rows - i, (i64)ROWS) * (j < columns);
  const Divided b3 = divided(y.quotient, n3), b2 = divided(b3.quotient, n2), b1 = divided(b2.quotient, n1);
  const PIXEL* first =
      images + b1.quotient * image0 + b1.remainder * image1 + b2.remainder * image2 + b3.remainder * image3;
  const SUM* kernel =
      kernels + b1.quotient * kernel0 + b1.remainder * kernel1 + b2.remainder * kernel2 + b3.remainder * kernel3;
  const Image image = {first, height, width, boundary, fill};
  const int most_rows = (int)min(rows - i0, (i64)tile_rows), most_columns = (int)min(columns - j0, (i64)blockDim.x);
  for (i64 a = 0; a < kernel_height; a += chunk_height)
    for (i64 b = 0; b < kernel_width; b += chunk_width) {
      const int h = (int)min(chunk_height, kernel_height - a), w = (int)min(chunk_width, kernel_width - b);
      __syncthreads();  // nobody needs the chunk before
      load_taps(kernel + a * kernel_width + b, kernel_width, taps, h, w);
      load_tile(image, i0 + a - above, j0 + b - left, tile, most_rows + h - 1, most_columns + w - 1);
      commit_copies();
      wait_copies<0>();
      __syncthreads();
      SUM sums[ROWS] = {};
      if (own > 0)
        for (int c = 0; c < w; c++) add_column(sums, pixels + c, taps + c * ROWS, h);
      if (a + b > 0) add_kept(sums, kept, threads);
      if (a + h < kernel_height || b + w < kernel_width) keep(sums, kept, threads);
      else store_all(sums, place, step, own);
    }
}
