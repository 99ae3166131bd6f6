"""Rows on a GPU: CuPy arrays, the sides' CUDA graphs replayed in turn.

A graph replays what a call launched, without Python, so that its time is the GPU's alone; it is read from
events of the GPU. Targets are those for Hopper.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
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
from fastconv._backends import Array
from fastconv.bench import peers
from fastconv.bench.facts import versions
from fastconv.bench.model import Comparison, Rival, Row, Settings, Target, compared, rounding

CALLS_OF_A_GRAPH = 10
"""One launch of a graph costs a few microseconds: it is shared by so many calls."""
ROUNDS, QUICK_ROUNDS = 30, 1
LAYERS = "GPU: binary convolution 3×3, 256→256 at 14², padding 1, packed in"
PRODUCTS = "GPU: binary matrix product"
MEMORY = "GPU: memory traffic, at 1 GB or more"
CUDNN, INT_MM, CUPYX = (
    "cuDNN float16, channels last (torch)",
    "torch._int_mm",
    "cupyx.scipy.signal.correlate2d",
)
COPY = "device copy, cupy.copyto"


class TorchCall:
    """A call of PyTorch on the GPU, whose graphs are PyTorch's own."""

    def __init__(self, call: peers.Call) -> None:
        self.call = call

    def __call__(self) -> Any:
        return self.call()


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
    """What the table's header says.

    Raises
    ------
    ImportError, RuntimeError
        If there is no CuPy, or no GPU that it can use.
    """
    import cupy

    from fastconv.cuda.devices import names

    runtime = cupy.cuda.runtime
    return {
        "GPU": next(iter(names().values())),
        "CUDA": f"runtime {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}",
        "versions": versions("fastconv", "numpy", "cupy-cuda12x", "cupy-cuda13x", "torch"),
    }


def seconds_by_replay(calls: Sequence[peers.Call], settings: Settings, rest: float) -> list[float]:
    """Median GPU time of each call; their graphs take turns. No side leaves threads that need a ``rest``."""
    replays = [_torch_replay(call) if isinstance(call, TorchCall) else _cupy_replay(call) for call in calls]
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(settings.pick(ROUNDS, QUICK_ROUNDS)):
        for replay, taken in zip(replays, times, strict=True):
            taken.append(replay())
    return [statistics.median(taken) for taken in times]


def _cupy_replay(call: peers.Call) -> Callable[[], float]:
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        call()  # compiles, and leaves memory of the right sizes in CuPy's pool
        stream.begin_capture()
        for _ in range(CALLS_OF_A_GRAPH):
            call()
        graph = stream.end_capture()

    def replay() -> float:
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record(stream)
        graph.launch(stream)
        end.record(stream)
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(begin, end)) / 1e3 / CALLS_OF_A_GRAPH

    replay()
    return replay


def _torch_replay(call: peers.Call) -> Callable[[], float]:
    cuda = peers.torch().cuda
    stream = cuda.Stream()
    with cuda.stream(stream):
        call()  # chooses an algorithm
    graph = cuda.CUDAGraph()
    with cuda.graph(graph, stream=stream):
        for _ in range(CALLS_OF_A_GRAPH):
            call()

    def replay() -> float:
        begin, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        with cuda.stream(stream):
            begin.record()
            graph.replay()
            end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3 / CALLS_OF_A_GRAPH

    replay()
    return replay


def _torch(prepare: Callable[[Any], peers.Call]) -> TorchCall | None:
    module = peers.torch()
    if module is None or not module.cuda.is_available():
        return None
    call = peers.torch_call(prepare)
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

    def prepare(torch: Any) -> peers.Call:
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

    def prepare(torch: Any) -> peers.Call:
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


def _cupyx(image: Array, weight: Array) -> peers.Call | None:
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
