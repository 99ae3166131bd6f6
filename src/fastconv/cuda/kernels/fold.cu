// Scale, bias, batch normalization and sign as one comparison of integers.
#include "rounded.cuh"

struct Chain {
  float alpha, bias, slope, offset;
};

__device__ __forceinline__ float value(const Chain& c, i64 y) {
  return sum(product(sum(product(c.alpha, (float)y), c.bias), c.slope), c.offset);
}
// in double, whose comparisons do not take small numbers for 0
__device__ __forceinline__ bool bit(const Chain& c, i64 y) { return widened(value(c, y)) >= 0; }
__device__ __forceinline__ bool finite(float x) { return widened(x) - widened(x) == 0; }

// tau and flip (O,) such that (y >= tau) != flip is the sign of the chain for every integer y in [-n, n], and
// whether it is finite there; alpha and bias are (O,), or scalars, whose steps are 0
extern "C" __global__ void fold_batchnorm(
    const float* __restrict__ gamma, const float* __restrict__ beta, const float* __restrict__ mean,
    const float* __restrict__ var, const float* __restrict__ alpha, const float* __restrict__ bias, float eps,
    i64 alpha_step, i64 bias_step, int* __restrict__ tau, u8* __restrict__ flip, u8* __restrict__ bounded,
    i64 channels, i64 n) {
  for (i64 o = first_index(); o < channels; o += index_step()) {
    const float slope = product(gamma[o], quotient(1, root(sum(var[o], eps))));
    const Chain c = {alpha[o * alpha_step], bias[o * bias_step], slope, difference(beta[o], product(mean[o], slope))};
    const bool first = bit(c, -n), last = bit(c, n);
    i64 low = -n, high = n;
    while (high - low > 1) {  // rounding keeps the order, so the bit changes once at most: halve what holds it
      const i64 middle = low + (high - low) / 2;
      if (bit(c, middle) == last) high = middle;
      else low = middle;
    }
    tau[o] = first == last ? -2147483647 - 1 : (int)high;
    flip[o] = !last;
    bounded[o] = finite(value(c, -n)) && finite(value(c, n));
  }
}
