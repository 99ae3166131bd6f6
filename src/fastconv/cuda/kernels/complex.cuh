// Complex numbers: what sums of products need of them.
#pragma once

template <class T>
struct __align__(2 * sizeof(T)) Complex {
  T re, im;
};

template <class T>
__device__ __forceinline__ Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}

template <class T>
__device__ __forceinline__ Complex<T>& operator+=(Complex<T>& a, Complex<T> b) {
  return a = a + b;
}

template <class T>
__device__ __forceinline__ Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

typedef Complex<float> complex64;
typedef Complex<double> complex128;
