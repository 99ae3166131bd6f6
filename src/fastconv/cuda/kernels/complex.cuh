// Complex numbers. What is computed with them stands in sums.cuh.
#pragma once

template <class T>
struct __align__(2 * sizeof(T)) Complex {
  T re, im;
};

typedef Complex<float> complex64;
typedef Complex<double> complex128;
