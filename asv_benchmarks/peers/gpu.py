"""Rows on a GPU: CuPy arrays, the sides' CUDA graphs replayed in turn. Targets are those for Hopper."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from fastconv import (
    Threshold,
    correlate2d,
    im2col,
    pack_filters,
    pack_signs,
    packbits64,
    popcount,
    xnor_conv2d,
    xnor_matmul,
)
from peers import libraries
from peers.compare import Comparison, Rival, compared, rounding
from peers.facts import versions
from peers.graphs import TorchCall, seconds_by_replay
from peers.table import Array, Row, Settings, Target

LAYERS = "GPU: binary convolution 3×3, 256→256 at 14², padding 1, packed in"
PRODUCTS = "GPU: binary matrix product"
MEMORY = "GPU: memory traffic, at 1 GB or more"
CUDNN, INT_MM, CUPYX = (
    "cuDNN float16, channels last (torch)",
    "torch._int_mm",
    "cupyx.scipy.signal.correlate2d",
)
COPY = "device copy, cupy.copyto"


def rows() -> list[Row]:
    def row(section: str, name: str, make: Callable[[Settings], Comparison]) -> Row:
        return compared(section, name, make, clock=seconds_by_replay)

    return [
        row(LAYERS, "xnor_conv2d, batch 64, int32 out", partial(layer, 64, False, 6e-6, 3.0)),
        row(LAYERS, "xnor_conv2d, batch 64, packed out", partial(layer, 64, True, 3.5e-6, 3.0)),
        row(LAYERS, "xnor_conv2d, batch 1024, packed out", partial(layer, 1024, True, None, 10.0)),
        row(PRODUCTS, "xnor_matmul 8192×8192×8192, packed", product),
        row(MEMORY, "correlate2d 8192², 3×3", correlation),
        row(MEMORY, "packbits64 of bool, 2^30", packed_bits),
        row(MEMORY, "pack_signs of float32, 2^28", signs),
        row(MEMORY, "popcount of uint64, 2^27", counts),
        row(MEMORY, "im2col 32×64×112², 3×3, out=", patches),
    ]


def facts() -> dict[str, str]:
    """What the table's header says."""
    import cupy

    runtime, device = cupy.cuda.runtime, cupy.cuda.Device()
    name = runtime.getDeviceProperties(device.id)["name"].decode()
    capability = device.compute_capability
    return {
        "GPU": f"{name}, compute capability {capability[:-1]}.{capability[-1]}",
        "CUDA": f"runtime {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}",
        "versions": versions("fastconv", "numpy", "cupy-cuda12x", "cupy-cuda13x", "torch"),
    }


def _torch(prepare: Callable[[Any], libraries.Call]) -> TorchCall | None:
    module = libraries.torch()
    if module is None or not module.cuda.is_available():
        return None
    call = libraries.torch_call(prepare)
    return call and TorchCall(call)


def _copy(nbytes: int, moved: int) -> Rival:
    """The share of copy bandwidth: a copy of ``nbytes`` reads and writes each; we move ``moved`` in all."""
    import cupy

    source, target = cupy.zeros(nbytes, np.uint8), cupy.zeros(nbytes, np.uint8)
    share = moved / (2 * nbytes)
    return Rival(COPY, lambda: cupy.copyto(target, source), Target(85, "%"), read=None, share=share)


def _random(*shape: int, dtype: Any = np.float32) -> Array:
    """Few numbers (as bool: their signs), again and again: the host would take long to make so many."""
    import cupy

    count = int(np.prod(shape))
    few = np.random.default_rng(0).standard_normal(min(count, 1 << 20), np.float32)
    return cupy.asarray(np.resize(few >= 0 if dtype is bool else few, shape))


def layer(
    batch: int, is_packed: bool, seconds: float | None, times_cudnn: float, settings: Settings
) -> Comparison:
    """Signs in; int32 or signs out, by a threshold. cuDNN: signs as float16 in and out, on tensor cores."""
    import cupy

    n, c, h = settings.pick((batch, 256, 14), (1, 66, 5))
    x, weight = _random(n, c, h, h), _random(c, c, 3, 3)
    packed, filters = pack_signs(x, axis=1), pack_filters(weight)
    threshold = Threshold(cupy.zeros(c, np.int32), cupy.zeros(c, np.bool_)) if is_packed else None

    def prepare(torch: Any) -> libraries.Call:
        image, w = (
            torch.from_numpy(np.where(cupy.asnumpy(a) >= 0, np.float16(1), np.float16(-1)))
            .cuda()
            .to(memory_format=torch.channels_last)
            for a in (x, weight)
        )
        torch.backends.cudnn.benchmark = True
        return lambda: torch.nn.functional.conv2d(image, w, padding=1)

    def read(result: Any) -> Array:
        sums = result.float().cpu().numpy()
        return pack_signs(sums, axis=1).words if is_packed else sums

    rivals = [Rival(CUDNN, _torch(prepare), Target(times_cudnn), read=read)]
    if seconds is not None:
        rivals.append(Rival(f"a time of {seconds * 1e6:g} µs", seconds, Target(1.0)))
    return Comparison(lambda: xnor_conv2d(packed, filters, padding=1, threshold=threshold), rivals)


def product(settings: Settings) -> Comparison:
    """Both packed before. One sign product counts as two operations, as vendors count."""
    import cupy

    n = settings.pick(8192, 70)
    a, b = _random(n, n), _random(n, n)[:, ::-1]
    left, right = pack_signs(a), pack_signs(b, axis=-2)

    def prepare(torch: Any) -> libraries.Call:
        signs = (np.where(cupy.asnumpy(v) >= 0, np.int8(1), np.int8(-1)) for v in (a, b))
        one, other = (torch.from_numpy(v).cuda() for v in signs)
        return lambda: torch._int_mm(one, other)

    bounds = [(4, "mma.sync"), (7, "wgmma")]
    return Comparison(
        lambda: xnor_matmul(left, right),
        [
            Rival(INT_MM, _torch(prepare), read=lambda result: result.cpu().numpy()),
            *(
                Rival(f"{rate}·10¹⁵ operations/s ({means})", 2 * n**3 / (rate * 1e15), Target(1.0))
                for rate, means in bounds
            ),
        ],
    )


def correlation(settings: Settings) -> Comparison:
    import cupy

    n = settings.pick(8192, 40)
    image, weight = _random(n, n), _random(3, 3)
    out = cupy.empty_like(image)
    largest = float(cupy.abs(image).max()) * float(cupy.abs(weight).sum())
    return Comparison(
        lambda: correlate2d(image, weight, "same", out=out),
        [
            _copy(image.nbytes, 2 * image.nbytes),
            Rival(
                CUPYX,
                _cupyx(image, weight),
                Target(2),
                read=cupy.asnumpy,
                tolerance=rounding(weight.size) * largest,
            ),
        ],
    )


def _cupyx(image: Array, weight: Array) -> libraries.Call | None:
    try:
        from cupyx.scipy import signal
    except ImportError:  # it needs more of NVIDIA's libraries than CuPy alone
        return None
    return lambda: signal.correlate2d(image, weight, "same")


def packed_bits(settings: Settings) -> Comparison:
    bits = _random(settings.pick(2**30, 2**12), dtype=bool)
    return Comparison(lambda: packbits64(bits), [_copy(bits.nbytes, bits.nbytes + bits.nbytes // 8)])


def signs(settings: Settings) -> Comparison:
    x = _random(settings.pick(2**28, 2**12))
    return Comparison(lambda: pack_signs(x), [_copy(x.nbytes, x.nbytes + x.nbytes // 32)])


def counts(settings: Settings) -> Comparison:
    x = _random(settings.pick(2**28, 2**12)).view(np.uint64)
    return Comparison(lambda: popcount(x), [_copy(x.nbytes, x.nbytes + x.size)])


def patches(settings: Settings) -> Comparison:
    n, c, h = settings.pick((32, 64, 112), (1, 2, 7))
    x = _random(n, c, h, h)
    out = im2col(x, 3, padding=1)
    return Comparison(lambda: im2col(x, 3, padding=1, out=out), [_copy(out.nbytes, x.nbytes + out.nbytes)])
